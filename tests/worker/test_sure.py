"""The sure answer: the deepest node that holds enough of the probability, against a search through every node."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from shared.cards.card import Registry
from shared.cards.hierarchy import Hierarchy, Node
from tests.worker.asking import document, explain
from tests.worker.test_tree import random_trees
from worker.algebra.tree import TreeMatrices
from worker.engine.models import Model
from worker.explain.forward import Question
from worker.explain.sure import node_probabilities, sure_nodes

some = settings(max_examples=60, deadline=None, derandomize=True)
PETS = Hierarchy(
    (
        Node("pet", "pet", ("furry", "fish")),
        Node("furry", "furry", ("cat", "dog")),
        Node("fish", "fish", ("tank",)),
        Node("tank", "tank fish", ("goldfish",)),
        *(Node(name, name, leaf=k) for k, name in enumerate(("cat", "dog", "goldfish"))),
    )
)
"""Two of its nodes have a single child."""


@st.composite
def trees(draw: st.DrawFn) -> Hierarchy:
    """Random trees, some of their nodes below a decision that has no other child."""
    tree = draw(random_trees())
    lifted = draw(st.sets(st.sampled_from([node.id for node in tree.nodes if node.id != tree.root.id]), max_size=3))
    nodes = [
        Node(node.id, node.name, tuple(f"{c}-alone" if c in lifted else c for c in node.children), node.leaf)
        for node in tree.nodes
    ]
    return Hierarchy((*nodes, *(Node(f"{node_id}-alone", None, (node_id,)) for node_id in sorted(lifted))))


def random_logits(tree: Hierarchy, seed: int, *, count: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.1, 1, 2, 4, 8])[:count, None]
    return torch.randn(count, tree.class_count, generator=random, dtype=torch.double) * scale


def sure(tree: Hierarchy, logits: Tensor, *, at: float) -> list[str]:
    nodes = sure_nodes(logits, TreeMatrices.of(tree, dtype=logits.dtype), at=at)
    return [tree.ends[edge] for edge in nodes.edges.tolist()]


def shares_below(tree: Hierarchy, row: Tensor) -> dict[str, float]:
    """Every node's probability, node by node."""
    return {node.id: float(row.softmax(0)[list(tree.leaves_below[node.id])].sum()) for node in tree.nodes}


def path_of(tree: Hierarchy, node_id: str) -> list[str]:
    """From the root down to a node."""
    path = [node_id]
    while path[-1] in tree.parent_of:
        path.append(tree.parent_of[path[-1]])
    return path[::-1]


@given(trees(), st.integers(0, 2**32 - 1), st.floats(0.5, 1, exclude_min=True))
@some
def test_what_holds_enough_is_one_chain_and_its_deepest_node_is_the_answer(
    tree: Hierarchy, seed: int, at: float
) -> None:
    logits = random_logits(tree, seed)
    for row, answer in zip(logits, sure(tree, logits, at=at), strict=True):
        shares = shares_below(tree, row)
        assume(all(abs(share - at) > 1e-9 for node_id, share in shares.items() if share < 1 - 1e-9))
        held = {node_id for node_id, share in shares.items() if share >= min(at, 1 - 1e-9)}
        assert answer in held
        assert held == set(path_of(tree, answer))


@given(trees(), st.integers(0, 2**32 - 1))
@some
def test_the_probabilities_are_those_below_each_node_and_that_of_the_root_is_1(tree: Hierarchy, seed: int) -> None:
    logits, matrices = random_logits(tree, seed), TreeMatrices.of(tree, dtype=torch.double)
    found = node_probabilities(logits, matrices)
    assert (found <= 1).all() and (found[:, matrices.no_edge] == 1).all()
    for row, probabilities in zip(logits, found, strict=True):
        expected = shares_below(tree, row)
        assert probabilities.tolist() == pytest.approx([expected[node] for node in tree.ends], abs=1e-12)


@given(trees(), st.integers(0, 2**32 - 1), st.floats(0.51, 0.99))
@some
def test_an_image_gets_in_a_batch_what_it_gets_alone(tree: Hierarchy, seed: int, at: float) -> None:
    logits = random_logits(tree, seed)
    assume(all(abs(share - at) > 1e-9 for row in logits for share in shares_below(tree, row).values()))
    assert sure(tree, logits, at=at) == [sure(tree, row[None], at=at)[0] for row in logits]


def log(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


@pytest.mark.parametrize(
    ("probabilities", "at", "answer"),
    [
        ((0.8, 0.1, 0.1), 0.7, "cat"),
        ((0.5, 0.4, 0.1), 0.7, "furry"),
        ((0.4, 0.2, 0.4), 0.7, "pet"),
        ((0.1, 0.1, 0.8), 0.7, "goldfish"),
        ((0.34, 0.33, 0.33), 0.6, "furry"),
        ((0.34, 0.33, 0.33), 0.9, "pet"),
        ((1.0, 0.0, 0.0), 1.0, "cat"),
        ((0.9, 0.05, 0.05), 1.0, "pet"),
    ],
)
def test_the_answer_is_as_deep_as_the_probability_allows(
    probabilities: tuple[float, ...], at: float, answer: str
) -> None:
    """Of nodes that hold the same classes it is the deepest: the goldfish, not the fish of the tank."""
    assert sure(PETS, log(*probabilities), at=at) == [answer]


@pytest.mark.parametrize("at", [0.5, 0.0, -1.0, 1.0001, float("nan")])
def test_a_probability_that_two_paths_could_hold_is_refused(at: float) -> None:
    with pytest.raises(ValueError, match=rf"{at} must be above 0\.5 and at most 1"):
        sure(PETS, log(0.8, 0.1, 0.1), at=at)


def test_saturated_logits_give_an_answer() -> None:
    extreme = torch.tensor([[1e4, -1e4, 0.0], [-1e30, 1e30, 0], [0.0, 0, 0]])
    assert sure(PETS, extreme, at=0.7) == ["cat", "dog", "pet"]


def test_of_a_photograph_the_answer_is_told_with_its_node_and_what_it_holds(
    registry: Registry, photos: dict[str, Image.Image]
) -> None:
    model = Model.load(registry.get("nbdt-cifar10"))
    assert model.card.hierarchy is not None
    for explanation in explain(model, list(photos.values()), [Question(tree=None)] * len(photos)):
        said, logits = document(explanation)["sure"], torch.from_numpy(explanation.answer.logits)
        group = model.card.node_group(said["node"])
        assert said["at"] == model.card.limits.sure_at == 0.76
        assert (said["name"], said["class_count"], said["index"]) == (group.name, len(group.classes), group.index)
        assert said["probability"] == pytest.approx(float(logits.softmax(0)[list(group.classes)].sum()), abs=1e-6)
        assert explanation.answer.sure is not None
        assert explanation.answer.sure.is_root == (said["node"] == model.card.hierarchy.root.id)
        assert said["probability"] >= said["at"]
