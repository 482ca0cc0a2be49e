"""Neural-backed decision tree inference in matrix form: a few sums over sets of columns instead of a walk over nodes.

Pure functions of logits. Notation of arXiv 2004.00221: an edge leads from a decision to a child; the score of a
child is the mean of its leaf logits ("soft" and "hard"), or their log-sum-exp ("marginal", which returns the
network's own softmax, because the path product telescopes).

Behind a fast network these operations take their time one by one, hardly by the numbers in them: few that do much are
chosen here over many that do little.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from shared.cards.hierarchy import Hierarchy

LEAST = 1e-35  # below it exponentials in fp32 lose digits, and logits so far apart need several scales
SMALL = 2**16  # numbers of a matrix with which a product takes less than sums over sets of columns


class TreeMode(StrEnum):
    SOFT = "soft"
    HARD = "hard"
    MARGINAL = "marginal"


@dataclass(frozen=True)
class Bags:
    """G sets of C columns that are added up, P columns in all."""

    columns: Tensor  # P, one set after another
    starts: Tensor  # G, where each set begins
    matrix: Tensor | None  # C x G, 1 where a set has a column; of few and small sets, to which a product does the same

    @classmethod
    def of(cls, member: Tensor) -> Bags:
        """The columns of each row of a G x C matrix that are not zero."""
        sizes = (member != 0).sum(1)
        matrix = member.T.contiguous() if member.numel() <= SMALL else None
        return cls(member.nonzero()[:, 1], sizes.cumsum(0) - sizes, matrix)

    def to(self, device: torch.device | None, dtype: torch.dtype | None) -> Bags:
        """The same on another device, or of another type."""
        matrix = None if self.matrix is None else self.matrix.to(device=device, dtype=dtype)
        return Bags(self.columns.to(device), self.starts.to(device), matrix)

    def sums(self, values: Tensor) -> Tensor:
        """N x C values -> N x G."""
        if self.matrix is not None:
            return values @ self.matrix
        return torch.embedding_bag(values.T.contiguous(), self.columns, self.starts)[0].T


def matrices_bytes(tree: Hierarchy) -> int:
    """Of the largest of a tree's matrices, and of what it takes to make them, about."""
    edges, decisions = len(tree.edges) + 1, len(tree.decisions)
    widest = max(len(node.children) for node in tree.decisions)
    return edges * tree.class_count * 9 + edges * widest * 8 + decisions * widest * 21


@dataclass(frozen=True)
class TreeMatrices:
    """A hierarchy as arrays. E edges, K classes, M decisions; edges are numbered as in `Hierarchy.edges`. Where there
    is no edge stands E, as if one led into the root: all classes lie below it, and its score is nobody's rival.

    The pairs of an edge and a class below it are few (5,807 of 1,367,000 in WordNet's tree over ImageNet).
    """

    membership: Tensor  # (E + 1) x K, 1 where leaf k lies under the child of edge e, and in the last row
    mean: Tensor  # (E + 1) x K, membership with each row divided by its sum
    below: Bags  # of classes: those below each of E + 1 edges
    above: Bags  # of edges: those from the root down to each class
    decision: Tensor  # E, number of the decision that an edge leaves
    children: Tensor  # M x C, the edges of each decision
    gaps: Tensor | None  # M x C, -inf where there is no edge, else 0; None where all decisions have as many
    flat_index: Tensor  # E, where an edge stands in `children`, counted row by row
    rivals: Tensor  # (E + 1) x (C - 1), the other edges of an edge's decision, then the first of them again and again;
    # where there is none, the edge itself, hence one column at least
    paths: Tensor  # K x S, the edges from the root down to each class
    depth: Tensor  # E + 1, edges from the root down to the child of each edge

    @classmethod
    def of(cls, tree: Hierarchy, *, dtype: torch.dtype = torch.float32) -> TreeMatrices:
        """The matrices of a tree on the processor."""
        no_edge = len(tree.edges)
        membership = torch.zeros(no_edge + 1, tree.class_count, dtype=dtype)
        membership[no_edge] = 1
        for row, (_, child) in enumerate(tree.edges):
            membership[row, list(tree.leaves_below[child])] = 1
        edges_of = [[tree.edge_into[child] for child in node.children] for node in tree.decisions]
        children = _padded(edges_of, no_edge)
        there = children != no_edge
        return cls(
            membership,
            mean=membership / membership.sum(1, keepdim=True),
            below=Bags.of(membership),
            above=Bags.of(membership[:-1].T),
            decision=torch.tensor([number for number, edges in enumerate(edges_of) for _ in edges]),
            children=children,
            gaps=None if there.all() else torch.zeros(there.shape, dtype=dtype).masked_fill(~there, -torch.inf),
            flat_index=there.flatten().nonzero()[:, 0],
            rivals=_rivals([*edges_of, [no_edge]]),
            paths=_padded(
                [[tree.edge_into[node] for node in tree.path_to(leaf)] for leaf in range(tree.class_count)], no_edge
            ),
            depth=torch.tensor([*(tree.depth_of[child] for _, child in tree.edges), 0]),
        )

    @property
    def no_edge(self) -> int:
        """E, which stands where there is no edge."""
        return len(self.decision)

    def to(self, *, device: torch.device | None = None, dtype: torch.dtype | None = None) -> TreeMatrices:
        """The same on another device, or of another type; indices stay integers."""
        return TreeMatrices(
            self.membership.to(device=device, dtype=dtype),
            self.mean.to(device=device, dtype=dtype),
            self.below.to(device, dtype),
            self.above.to(device, dtype),
            self.decision.to(device),
            self.children.to(device),
            None if self.gaps is None else self.gaps.to(device=device, dtype=dtype),
            self.flat_index.to(device),
            self.rivals.to(device),
            self.paths.to(device),
            self.depth.to(device),
        )


@dataclass(frozen=True)
class TreeInference:
    """What the tree says of N images. Probabilities are natural-log."""

    mode: TreeMode
    scores: Tensor  # N x (E + 1), score of each edge's child; last the root's
    edge_log_p: Tensor  # N x E, log probability of the child given its decision
    leaf_log_p: Tensor  # N x K, log of the path product
    prediction: Tensor  # N, class index


def edge_scores(logits: Tensor, matrices: TreeMatrices, *, mode: TreeMode) -> Tensor:
    """Score of every edge's child, N x (E + 1): mean of its leaf logits, or their log-sum-exp in marginal mode; last
    the root's."""
    if mode is not TreeMode.MARGINAL:
        return logits @ matrices.mean.T
    top = logits.amax(1, keepdim=True)
    shares = (logits - top).exp()
    if float(shares.min()) < LEAST:
        return _logsumexp_below(logits, matrices)
    return matrices.below.sums(shares).log().add_(top)


def _logsumexp_below(logits: Tensor, matrices: TreeMatrices) -> Tensor:
    """The same in marginal mode, each edge on a scale of its own."""
    edge, leaf = matrices.membership.nonzero().T
    index, values = edge.expand(len(logits), -1), logits.index_select(1, leaf)
    top = values.new_full((len(values), matrices.no_edge + 1), -torch.inf).scatter_reduce(1, index, values, "amax")
    total = torch.zeros_like(top).scatter_add(1, index, (values - top.gather(1, index)).exp())
    return top + total.log()


def log_softmax_by_decision(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """Log softmax of N x (E + 1) scores within the edges that leave one decision, N x E."""
    within = _by_decision(scores, matrices).log_softmax(2)
    return within.flatten(1).index_select(1, matrices.flat_index)


def _by_decision(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """N x (E + 1) scores as N x M x C, -inf where there is no edge."""
    found = scores.index_select(1, matrices.children.flatten()).view(len(scores), *matrices.children.shape)
    return found if matrices.gaps is None else found + matrices.gaps


def soft_leaf_log_p(logits: Tensor, matrices: TreeMatrices) -> Tensor:
    """Log probability of every class under the soft tree, N x K; differentiable, the tree-supervision loss needs it."""
    edge_log_p = log_softmax_by_decision(edge_scores(logits, matrices, mode=TreeMode.SOFT), matrices)
    return edge_log_p @ matrices.membership[:-1]


def infer(logits: Tensor, matrices: TreeMatrices, *, mode: TreeMode) -> TreeInference:
    """Run the tree on N x K logits of its own dtype. Ties go to the first child or class, as in nbdt."""
    scores = edge_scores(logits, matrices, mode=mode)
    edge_log_p = log_softmax_by_decision(scores, matrices)
    leaf_log_p = matrices.above.sums(edge_log_p)
    prediction = _walk(scores, matrices) if mode is TreeMode.HARD else leaf_log_p.argmax(1)
    return TreeInference(mode, scores, edge_log_p, leaf_log_p, prediction)


def _walk(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """Follow the best child from the root: the one leaf all of whose edges are chosen, N class indices."""
    by_decision = _by_decision(scores, matrices)
    best = by_decision == by_decision.amax(2, keepdim=True)
    first = best & (best.cumsum(2) == 1)
    chosen = first.flatten(1).index_select(1, matrices.flat_index).to(scores)
    return (chosen @ matrices.membership[:-1] - matrices.membership[:-1].sum(0)).argmax(1)


def _rivals(edges_of: list[list[int]]) -> Tensor:
    width = max(max(map(len, edges_of)) - 1, 1)
    others = [[e for e in edges if e != edge] or [edge] for edges in edges_of for edge in edges]
    return torch.tensor([row + row[:1] * (width - len(row)) for row in others])


def _padded(rows: list[list[int]], fill: int) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], batch_first=True, padding_value=fill)
