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
    wanted = (rivals != NO_EDGE).unsqueeze(2)
    chosen_shares, chosen_entropy = _leaf_shares(logits, edges, matrices, inference)
    rival_shares, rival_entropy = _leaf_shares(logits, rivals, matrices, inference)
    shares = torch.where(wanted, chosen_shares - rival_shares, 0.0)  # N x S x K
    entropies = torch.where(wanted[..., 0], chosen_entropy - rival_entropy, 0.0)
    found = weighted(features, shares @ weight)
    scores = inference.scores
    margins = scores.gather(1, edges.clamp(min=0)) - scores.gather(1, rivals.clamp(min=0))
    margins = torch.where(wanted[..., 0], margins, 0.0)
    return DecisionMaps(edges, rivals, found, shares @ bias + entropies, entropies, margins)


def chosen_and_rivals(matrices: TreeMatrices, inference: TreeInference) -> tuple[Tensor, Tensor]:
    """The edges chosen on each image's path and the strongest other edge of each decision, N x S both, as above."""
    edges = matrices.paths[inference.prediction]
    return edges, _rivals(inference.scores, edges, matrices)


def _rivals(scores: Tensor, edges: Tensor, matrices: TreeMatrices) -> Tensor:
    siblings = matrices.children[matrices.decision[edges.clamp(min=0)]]  # N x S x C
    others = (siblings != NO_EDGE) & (siblings != edges.unsqueeze(2)) & (edges != NO_EDGE).unsqueeze(2)
    found = scores.gather(1, siblings.clamp(min=0).flatten(1)).view_as(others)
    best = torch.where(others, found, -torch.inf).argmax(2, keepdim=True)
    return torch.where(others.any(2), siblings.gather(2, best)[..., 0], NO_EDGE)


def _leaf_shares(
    logits: Tensor, edges: Tensor, matrices: TreeMatrices, inference: TreeInference
) -> tuple[Tensor, Tensor]:
    """Weights of the leaves in each edge's score (N x S x K), and their entropy (N x S; 0 but in marginal mode)."""
    index = edges.clamp(min=0)
    if inference.mode is not TreeMode.MARGINAL:
        shares = matrices.mean[index]
        return shares, shares.new_zeros(index.shape)
    scores = inference.scores.gather(1, index)
    log_r = (logits.unsqueeze(1) - scores.unsqueeze(2)).clamp_(max=0)  # no leaf below an edge is above its log-sum-exp
    r = log_r.exp().mul_(matrices.membership[index])
    return r, -log_r.mul_(r).sum(2)
