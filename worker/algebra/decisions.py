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

from worker.algebra.maps import absolute_terms, pooled, weighted
from worker.algebra.tree import TreeInference, TreeMatrices, TreeMode


@dataclass(frozen=True)
class DecisionMaps:
    """For N images and at most S steps: rows past the end of an image's path hold `matrices.no_edge` and zeros."""

    edges: Tensor  # N x S, the edge chosen at each step
    rivals: Tensor  # N x S, the strongest other edge of the same decision; where there is none, the chosen one itself
    maps: Tensor  # N x S x h x w, in units of the scores
    constants: Tensor  # N x S, bias difference plus entropy difference
    entropies: Tensor  # N x S, the entropy difference alone (0 but in marginal mode), in nats
    margins: Tensor  # N x S, score of the chosen edge minus the rival's
    terms: Tensor  # N x S, the absolute values that are added up in both scores


@dataclass(frozen=True)
class TreeHead:
    """A network's linear head, and the same for each edge of a tree: the mean of the head's rows below it."""

    weight: Tensor  # K x D
    bias: Tensor  # K
    edge_weight: Tensor  # (E + 1) x D
    edge_bias: Tensor  # E + 1
    weight_size: Tensor  # K x D, the absolute values of `weight`

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, matrices: TreeMatrices) -> TreeHead:
        """From the K x C weight and the K biases of a network's head."""
        return cls(weight, bias, matrices.mean @ weight, matrices.mean @ bias, weight.abs())


def decision_maps(
    features: Tensor, logits: Tensor, head: TreeHead, matrices: TreeMatrices, inference: TreeInference
) -> DecisionMaps:
    """Maps of every decision on each image's path, from N x D x h x w features and N x K logits."""
    edges, rivals = chosen_and_rivals(matrices, inference)
    both = torch.cat([edges, rivals], dim=1)
    scores = inference.scores.gather(1, both)
    margins = _difference(scores)
    if inference.mode is TreeMode.MARGINAL:
        every_share, every_entropy = _leaf_shares(logits, both, scores, matrices)
        shares, entropies = _difference(every_share), _difference(every_entropy)
        flat = shares.flatten(0, 1)
        rows = (flat @ head.weight).view(*edges.shape, -1)
        of_classes = pooled(features.abs()) @ head.weight_size.T
        terms = torch.bmm(_sum(every_share), of_classes.unsqueeze(2)).squeeze(2)
        constants = torch.addmv(entropies.flatten(), flat, head.bias).view_as(edges)
    else:
        index = both.flatten()
        every_row = head.edge_weight.index_select(0, index).view(*both.shape, -1)
        rows = _difference(every_row)
        terms = absolute_terms(features, _sum(every_row.abs()))
        constants = _difference(head.edge_bias.index_select(0, index).view_as(both))
        entropies = torch.zeros_like(constants)
    return DecisionMaps(edges, rivals, weighted(features, rows), constants, entropies, margins, terms)


def chosen_and_rivals(matrices: TreeMatrices, inference: TreeInference) -> tuple[Tensor, Tensor]:
    """The edges chosen on each image's path and the strongest other edge of each decision, N x S both, as above."""
    edges = matrices.paths.index_select(0, inference.prediction)
    others = matrices.rivals.index_select(0, edges.flatten())  # NS x (C - 1)
    if others.shape[1] == 1:
        return edges, others.view_as(edges)
    best = inference.scores.gather(1, others.view(len(edges), -1)).view_as(others).argmax(1, keepdim=True)
    return edges, others.gather(1, best).view_as(edges)


def _leaf_shares(logits: Tensor, edges: Tensor, scores: Tensor, matrices: TreeMatrices) -> tuple[Tensor, Tensor]:
    """Weights of the leaves in the log-sum-exps that are the scores of N x R edges (N x R x K), and their entropy
    (N x R)."""
    below = matrices.membership.index_select(0, edges.flatten()).view(*edges.shape, -1)
    log_r = (logits.unsqueeze(1) - scores.unsqueeze(2)).clamp_(max=0)  # no leaf below an edge is above its log-sum-exp
    r = log_r.exp().mul_(below)
    return r, -log_r.mul_(r).sum(2)


def _difference(values: Tensor) -> Tensor:
    """The first half of N x 2S values less the second."""
    chosen, rival = values.chunk(2, dim=1)
    return chosen - rival


def _sum(values: Tensor) -> Tensor:
    """The first half of N x 2S values and the second, added."""
    chosen, rival = values.chunk(2, dim=1)
    return chosen + rival
