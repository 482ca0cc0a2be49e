"""Neural-backed decision tree inference in matrix form: two sparse products instead of a walk over nodes.

Pure functions of logits. Notation of arXiv 2004.00221: an edge leads from a decision to a child; the score of a
child is the mean of its leaf logits ("soft" and "hard"), or their log-sum-exp ("marginal", which returns the
network's own softmax, because the path product telescopes).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from shared.hierarchy import Hierarchy

NO_EDGE = -1


class TreeMode(StrEnum):
    SOFT = "soft"
    HARD = "hard"
    MARGINAL = "marginal"


@dataclass(frozen=True)
class TreeMatrices:
    """A hierarchy as arrays. E edges, K classes, M decisions; edges are numbered as in `Hierarchy.edges`.

    The P pairs of an edge and a class below it are few (6,400 of 1,367,000 in WordNet's tree over ImageNet).
    """

    membership: Tensor  # E x K, 1 where leaf k lies under the child of edge e
    mean: Tensor  # E x K, membership with each row divided by its sum
    pairs: Tensor  # 2 x P, edge and class of each one in membership
    decision: Tensor  # E, number of the decision that an edge leaves
    paths: Tensor  # K x S, the edges from the root down to each class, padded with NO_EDGE
    rivals: Tensor  # K x S x C, the other edges of each decision on these paths, with NO_EDGE in all other places
    decision_count: int

    @classmethod
    def of(cls, tree: Hierarchy, *, dtype: torch.dtype = torch.float32) -> TreeMatrices:
        membership = torch.zeros(len(tree.edges), tree.class_count, dtype=dtype)
        for row, (_, child) in enumerate(tree.edges):
            membership[row, list(tree.leaves_below[child])] = 1
        number = {node.id: index for index, node in enumerate(tree.decisions)}
        decision = torch.tensor([number[parent] for parent, _ in tree.edges])
        mean = membership / membership.sum(1, keepdim=True)
        paths = _padded(
            [torch.tensor([tree.edge_into[node] for node in tree.path_to(leaf)]) for leaf in range(tree.class_count)]
        )
        children = _padded([(decision == number).nonzero()[:, 0] for number in range(len(tree.decisions))])
        siblings, chosen = children[decision[paths]], paths.unsqueeze(2)
        rivals = siblings.masked_fill((siblings == chosen) | (chosen == NO_EDGE), NO_EDGE)
        return cls(membership, mean, membership.nonzero().T, decision, paths, rivals, len(tree.decisions))

    def to(self, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> TreeMatrices:
        return TreeMatrices(
            self.membership.to(device=device, dtype=dtype),
            self.mean.to(device=device, dtype=dtype),
            self.pairs.to(device=device),
            self.decision.to(device=device),
            self.paths.to(device=device),
            self.rivals.to(device=device),
            self.decision_count,
        )


@dataclass(frozen=True)
class TreeInference:
    """What the tree says of N images. Probabilities are natural-log."""

    mode: TreeMode
    scores: Tensor  # N x E, score of each edge's child
    edge_log_p: Tensor  # N x E, log probability of the child given its decision
    leaf_log_p: Tensor  # N x K, log of the path product
    prediction: Tensor  # N, class index


def edge_scores(logits: Tensor, matrices: TreeMatrices, *, mode: TreeMode) -> Tensor:
    """Score of every edge's child, N x E: mean of its leaf logits, or their log-sum-exp in marginal mode."""
    if mode is not TreeMode.MARGINAL:
        return logits @ matrices.mean.T
    edge, leaf = matrices.pairs
    return _logsumexp(logits[:, leaf], edge, groups=len(matrices.decision))


def log_softmax_by_decision(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """Log softmax of N x E scores within the edges that leave one decision."""
    index = matrices.decision.expand_as(scores)
    top = _per_decision(scores, matrices, -torch.inf).scatter_reduce(1, index, scores, "amax").detach()
    shifted = scores - top.gather(1, index)
    total = _per_decision(scores, matrices, 0.0).scatter_add(1, index, shifted.exp())
    return shifted - total.log().gather(1, index)


def _logsumexp(values: Tensor, group: Tensor, *, groups: int) -> Tensor:
    """Log-sum-exp of the N x P values of each group, N x groups. `group` is P numbers; no group is empty."""
    index = group.expand_as(values)
    top = values.new_full((len(values), groups), -torch.inf).scatter_reduce(1, index, values, "amax")
    total = torch.zeros_like(top).scatter_add(1, index, (values - top.gather(1, index)).exp())
    return top + total.log()


def soft_leaf_log_p(logits: Tensor, matrices: TreeMatrices) -> Tensor:
    """Log probability of every class under the soft tree, N x K; differentiable, the tree-supervision loss needs it."""
    return log_softmax_by_decision(edge_scores(logits, matrices, mode=TreeMode.SOFT), matrices) @ matrices.membership


def infer(logits: Tensor, matrices: TreeMatrices, *, mode: TreeMode) -> TreeInference:
    """Run the tree on N x K logits of its own dtype. Ties go to the first child or class, as in nbdt."""
    scores = edge_scores(logits, matrices, mode=mode)
    edge_log_p = log_softmax_by_decision(scores, matrices)
    leaf_log_p = _along_paths(edge_log_p, matrices)
    prediction = _walk(scores, matrices) if mode is TreeMode.HARD else leaf_log_p.argmax(1)
    return TreeInference(mode, scores, edge_log_p, leaf_log_p, prediction)


def _along_paths(edge_log_p: Tensor, matrices: TreeMatrices) -> Tensor:
    """The sum over the edges from the root down to each class, N x K: few of them, where membership is mostly zeros."""
    padded = functional.pad(edge_log_p, (0, 1))  # so that NO_EDGE, which counts from the end, is worth nothing
    return padded[:, matrices.paths].sum(2)


def _walk(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """Follow the best child from the root: the one leaf all of whose edges are chosen, N class indices."""
    index = matrices.decision.expand_as(scores)
    top = _per_decision(scores, matrices, -torch.inf).scatter_reduce(1, index, scores, "amax")
    edges = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    best = torch.where(scores == top.gather(1, index), edges, scores.shape[1])
    first = torch.full_like(top, scores.shape[1], dtype=torch.long).scatter_reduce(1, index, best, "amin")
    chosen = torch.zeros_like(scores).scatter(1, first, 1.0)
    depth = matrices.membership.sum(0)
    return (chosen @ matrices.membership - depth).argmax(1)


def _padded(rows: list[Tensor]) -> Tensor:
    return pad_sequence(rows, batch_first=True, padding_value=NO_EDGE)


def _per_decision(scores: Tensor, matrices: TreeMatrices, fill: float) -> Tensor:
    return scores.new_full((scores.shape[0], matrices.decision_count), fill)
