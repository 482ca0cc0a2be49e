"""The search of "Hedging your bets" against all assignments of a small tree, and the sure answers against a walk."""

from __future__ import annotations

from itertools import product
from math import log2

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.quality import hedging
from bench.quality.sure import Answered
from shared.cards.hierarchy import Hierarchy
from worker.algebra.tree import TreeMatrices
from worker.explain.sure import node_probabilities

TREE = Hierarchy.from_dict(
    {
        "nodes": [
            {"id": "root", "name": "thing", "children": ["animal", "ship"]},
            {"id": "animal", "name": "animal", "children": ["cat", "dog"]},
            {"id": "cat", "name": "cat", "class": 0},
            {"id": "dog", "name": "dog", "class": 1},
            {"id": "ship", "name": "ship", "class": 2},
        ]
    }
)
MATRICES = TreeMatrices.of(TREE)


def made_up(count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and labels that follow them more or less."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 3, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


def right_nodes(labels: Tensor) -> Tensor:
    return MATRICES.membership.T[labels] > 0


def test_information_is_one_of_a_class_and_none_of_the_root() -> None:
    found = dict(zip(TREE.ends, hedging.information(MATRICES).tolist(), strict=True))
    assert found == pytest.approx({"cat": 1, "dog": 1, "ship": 1, "animal": log2(3 / 2) / log2(3), "root": 0})


@pytest.mark.parametrize("multiplier", [0.0, 0.3, 1.0, 5.0])
def test_no_assignment_of_nodes_gains_more_at_the_same_expected_accuracy(multiplier: float) -> None:
    logits, _ = made_up(4)
    probabilities, gain = node_probabilities(logits, MATRICES).double(), hedging.information(MATRICES)
    chosen = hedging.answers(probabilities, gain, multiplier=multiplier)

    def expected(nodes: Tensor) -> tuple[float, float]:
        held = probabilities.gather(1, nodes.unsqueeze(1))[:, 0]
        return float(held.sum()), float((held * gain[nodes]).sum())

    accuracy, gained = expected(chosen)
    every = [expected(torch.tensor(nodes)) for nodes in product(range(len(gain)), repeat=len(logits))]
    assert len(every) == 5**4
    assert max(score[1] for score in every if score[0] >= accuracy - 1e-12) == pytest.approx(gained)
    assert max(multiplier * a + g for a, g in every) == pytest.approx(multiplier * accuracy + gained)


def test_the_multiplier_is_the_least_that_reaches_the_accuracy() -> None:
    logits, labels = made_up(200)
    probabilities, gain = node_probabilities(logits, MATRICES).double(), hedging.information(MATRICES)
    right = right_nodes(labels)

    def accuracy(multiplier: float) -> float:
        chosen = hedging.answers(probabilities, gain, multiplier=multiplier)
        return float(right.gather(1, chosen.unsqueeze(1)).double().mean())

    assert accuracy(0) < 0.95
    found = hedging.fit_multiplier(probabilities, gain, right, accuracy=0.95)
    assert accuracy(found) >= 0.95
    assert all(accuracy(least) < 0.95 for least in np.linspace(0, 0.999 * found, 500))
    assert hedging.fit_multiplier(probabilities, gain, right, accuracy=accuracy(0)) == 0


def test_only_the_root_is_always_right() -> None:
    logits, labels = made_up(200)
    probabilities, gain = node_probabilities(logits, MATRICES).double(), hedging.information(MATRICES)
    found = hedging.fit_multiplier(probabilities, gain, right_nodes(labels), accuracy=1.0)
    answered = Answered.of(hedging.answers(probabilities, gain, multiplier=found), labels, MATRICES)
    assert answered.right.all()
    assert answered.information.mean() < 0.5


@pytest.mark.parametrize("at", [0.51, 0.7, 0.95])
def test_risk_and_coverage_are_those_of_a_walk_down_the_tree(at: float) -> None:
    logits, labels = made_up(100, seed=1)
    found = Answered.at(at, logits, labels, MATRICES)
    for i, (row, label) in enumerate(zip(logits.double().softmax(1).tolist(), labels.tolist(), strict=True)):
        node, depth = "root", 0
        while True:
            children = [c for c in TREE.by_id[node].children if sum(row[k] for k in TREE.leaves_below[c]) >= at]
            if not children:
                break
            node, depth = children[0], depth + 1
        below = TREE.leaves_below[node]
        expected = (label in below, len(below) == 1, node == "root", depth, log2(3 / len(below)) / log2(3))
        here = (found.right[i], found.single[i], found.root[i], found.depth[i], found.information[i])
        assert here == pytest.approx(expected)
    assert 0 < found.single.mean() < 1  # the made-up images tell something


def test_of_some_limits_the_least_that_reaches_the_accuracy_is_chosen() -> None:
    accuracies = torch.tensor([0.90, 0.95, 0.94, 0.96])
    assert hedging.least(accuracies, 0.95) == 1
    assert hedging.least(accuracies, 0.99) == 3
