"""Parity with nbdt: what counts as a tie."""

from __future__ import annotations

import torch

from bench.quality import trees
from shared.cards.hierarchy import Hierarchy, Node
from worker.algebra.tree import TreeMatrices


def test_ties_between_children_of_one_decision_are_seen() -> None:
    tree = Hierarchy(
        (
            Node("r", "r", ("a", "2")),
            Node("a", "a", ("0", "1")),
            *(Node(str(k), str(k), leaf=k) for k in range(3)),
        )
    )
    matrices = TreeMatrices.of(tree)
    scores = torch.tensor([[1.0, 2, 1, 2], [1, 1, 2, 3], [1, 2, 3, 3]])  # of a, 2 and of 0, 1
    assert trees.has_tie(scores, matrices).tolist() == [False, True, True]
