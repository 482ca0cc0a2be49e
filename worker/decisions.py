"""Exact maps of the decisions on a path: the chosen child against its strongest sibling.

A child's score is a weighted mean of its leaves' logits, plus a constant: in soft and hard mode the weights are equal;
in marginal mode they are r = softmax over the leaves below, because log-sum-exp(z) = sum r z + H(r). Scores are thus
linear in the feature map, and the difference of two children has an exact map:
mean(map) + constant = score of the chosen - score of the sibling. In a binary decision that is the log-odds.
The entropy term H(r) has no place in the picture; it is part of the constant, and reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.maps import weighted
from worker.tree import NO_EDGE, TreeInference, TreeMatrices, TreeMode


@dataclass(frozen=True)
class DecisionMaps:
    """For N images and at most S steps: rows past the end of an image's path hold NO_EDGE and zeros."""

    edges: Tensor  # N x S, the edge chosen at each step
    rivals: Tensor  # N x S, the strongest other edge of the same decision; NO_EDGE where there is none
    maps: Tensor  # N x S x h x w, in units of the scores
    constants: Tensor  # N x S, bias difference plus entropy difference
    entropies: Tensor  # N x S, the entropy difference alone (0 but in marginal mode), in nats
    margins: Tensor  # N x S, score of the chosen edge minus the rival's


def decision_maps(
    features: Tensor,
    logits: Tensor,
    weight: Tensor,
    bias: Tensor,
    matrices: TreeMatrices,
    inference: TreeInference,
) -> DecisionMaps:
    """Maps of every decision on each image's path.

    features N x D x h x w, logits N x K, head weight K x D and bias K.
    """
    edges, rivals = chosen_and_rivals(matrices, inference)
    wanted = rivals != NO_EDGE
    index = torch.cat([edges, rivals], dim=1).clamp(min=0)  # both at once, since each look at a tensor takes its time
    scores = inference.scores.gather(1, index)
    every_share, every_entropy = _leaf_shares(logits, index, scores, matrices, mode=inference.mode)
    shares = _difference(every_share, wanted.unsqueeze(2))  # N x S x K
    entropies = _difference(every_entropy, wanted)
    found = weighted(features, shares @ weight)
    return DecisionMaps(edges, rivals, found, shares @ bias + entropies, entropies, margins=_difference(scores, wanted))


def chosen_and_rivals(matrices: TreeMatrices, inference: TreeInference) -> tuple[Tensor, Tensor]:
    """The edges chosen on each image's path and the strongest other edge of each decision, N x S both, as above."""
    others = matrices.rivals[inference.prediction]  # N x S x C
    scores = inference.scores.gather(1, others.clamp(min=0).flatten(1)).view_as(others)
    best = scores.masked_fill(others == NO_EDGE, -torch.inf).argmax(2, keepdim=True)
    return matrices.paths[inference.prediction], others.gather(2, best)[..., 0]


def _leaf_shares(
    logits: Tensor, edges: Tensor, scores: Tensor, matrices: TreeMatrices, *, mode: TreeMode
) -> tuple[Tensor, Tensor]:
    """Weights of the leaves in the scores of N x R edges (N x R x K), and their entropy (N x R; 0 but in marginal
    mode)."""
    if mode is not TreeMode.MARGINAL:
        return matrices.mean[edges], torch.zeros_like(scores)
    log_r = (logits.unsqueeze(1) - scores.unsqueeze(2)).clamp_(max=0)  # no leaf below an edge is above its log-sum-exp
    r = log_r.exp().mul_(matrices.membership[edges])
    return r, -log_r.mul_(r).sum(2)


def _difference(values: Tensor, wanted: Tensor) -> Tensor:
    """The first half of N x 2S values less the second, where there is something to decide."""
    chosen, rival = values.chunk(2, dim=1)
    return torch.where(wanted, chosen - rival, 0.0)
