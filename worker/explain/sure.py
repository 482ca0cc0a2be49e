"""The sure answer: the deepest node of the class tree that still holds a probability of `at`.

A node's probability is the sum of the softmax over the classes below it. It falls along every path from the root (1) to
a class, so that for `at` above one half the nodes that hold as much form one chain, and its last one is the answer.
The idea is that of Deng, Krause, Berg and Fei-Fei, "Hedging your bets" (CVPR 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shared.cards.groups import Group
from worker.algebra.tree import TreeMatrices, TreeMode, edge_scores


@dataclass(frozen=True)
class SureGroup:
    """The deepest node of the tree that holds a probability of `at`."""

    group: Group
    probability: float
    at: float
    is_root: bool  # the model vouches for nothing


@dataclass(frozen=True)
class SureNodes:
    """Of N images. Edges stand for the nodes that they lead to; E stands for the root."""

    edges: Tensor  # N
    probabilities: Tensor  # N


def sure_nodes(logits: Tensor, matrices: TreeMatrices, *, at: float) -> SureNodes:
    """From N x K logits. Raises ValueError for an `at` that several paths could reach."""
    if not 0.5 < at <= 1:
        raise ValueError(f"{at} must be above 0.5 and at most 1")
    probabilities = node_probabilities(logits, matrices)
    held = torch.where(probabilities >= at, matrices.depth, -1)
    held[:, matrices.no_edge] = 0  # the root holds everything, whatever was rounded
    edges = held.argmax(1)
    return SureNodes(edges, probabilities.gather(1, edges.unsqueeze(1)).squeeze(1))


def node_probabilities(logits: Tensor, matrices: TreeMatrices) -> Tensor:
    """N x (E + 1): the softmax summed over the classes below each node; last the root's, which is 1."""
    scores = edge_scores(logits, matrices, mode=TreeMode.MARGINAL)
    return (scores - scores[:, matrices.no_edge :]).exp().clamp(max=1)
