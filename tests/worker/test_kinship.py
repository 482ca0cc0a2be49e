"""Which classes of two models can be true of the same image, of real models and of some that WordNet does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.cards.card import ModelCard, Registry
from shared.cards.hierarchy import Hierarchy, Node
from tests.shared.cards import card, write_card
from worker.algebra.kinship import Kinship, Kinships, is_kind_of, synset

BROAD, NARROW, PHOTOS = "efficientnet-lite0-imagenet", "nbdt-cifar10", "resnet18-photos100"


def kinship(registry: Registry, broad: str, narrow: str) -> Kinship:
    found = Kinships().between(registry.get(broad), registry.get(narrow))
    assert found is not None
    return found


def flat(*leaves: str) -> Hierarchy:
    return Hierarchy((Node("r", None, leaves), *(Node(name, name, leaf=k) for k, name in enumerate(leaves))))


def test_of_imagenets_classes_212_are_kinds_of_those_of_cifar10_and_15_stand_for_the_deer(registry: Registry) -> None:
    """A minivan counts as an automobile and as a truck."""
    table, names = kinship(registry, BROAD, NARROW).table, registry.get(NARROW).classes
    counts = dict(zip(names, table.sum(0).tolist(), strict=True))
    assert counts.pop("deer") == 15
    assert counts == {"airplane": 1, "automobile": 10, "bird": 59, "cat": 7, "dog": 118} | {
        "frog": 3,
        "horse": 1,
        "ship": 6,
        "truck": 8,
    }
    assert int(np.delete(table, names.index("deer"), axis=1).any(1).sum()) == 212


@pytest.mark.parametrize(
    ("ours", "theirs", "possible"),
    [
        ("tabby", "cat", True),
        ("Egyptian cat", "cat", True),
        ("tabby", "dog", False),
        ("strawberry", "frog", False),
        ("tailed frog", "frog", True),
        ("impala", "deer", True),
        ("ox", "deer", True),
        ("zebra", "deer", False),
        ("zebra", "horse", False),
        ("goldfinch", "bird", True),
        ("garbage truck", "truck", True),
        ("airliner", "airplane", True),
        ("airship", "airplane", False),
    ],
)
def test_a_class_can_be_true_beside_what_it_is_a_kind_of_and_near_what_the_broad_model_lacks(
    ours: str, theirs: str, possible: bool, registry: Registry
) -> None:
    broad, narrow = registry.get(BROAD).group(ours), registry.get(NARROW).group(theirs)
    assert broad is not None and narrow is not None
    kin = kinship(registry, BROAD, NARROW)
    assert kin.touches(broad.classes, narrow.classes) is possible
    sure = np.zeros(1000, np.float32)
    sure[list(broad.classes)] = 1
    assert kin.support(sure, narrow.classes) == possible


def test_the_classes_of_photos100_are_imagenets_own(registry: Registry) -> None:
    table = kinship(registry, BROAD, PHOTOS).table
    broad, narrow = registry.get(BROAD), registry.get(PHOTOS)
    assert (table.sum(0) >= 1).all()
    for index, wnid in enumerate(narrow.wnids):
        assert table[broad.wnids.index(wnid), index]


def test_two_models_of_the_same_classes_share_exactly_these(registry: Registry) -> None:
    assert np.array_equal(kinship(registry, BROAD, "resnet18-imagenet").table, np.eye(1000, dtype=bool))


def test_the_support_counts_a_class_once_however_often_it_fits() -> None:
    """Both the cat and the animal can be true of a cat."""
    cat, tabby, animal = "n02121620", "n02123045", "n00015388"
    kin = Kinship.of(flat(tabby, "n07745940"), flat(cat, animal))
    assert kin is not None and kin.table.tolist() == [[True, True], [False, False]]
    assert kin.support(np.array([0.7, 0.3], np.float32), [0, 1]) == pytest.approx(0.7)
    assert not kin.covers([0, 1])


def test_a_class_that_only_one_model_can_place_is_possible_beside_everything() -> None:
    kin = Kinship.of(flat("n02123045", "n07745940"), flat("n02121620", "widget"))
    assert kin is not None and kin.table.tolist() == [[True, True], [False, True]]
    assert kin.covers([1]) and not kin.covers([0])


def test_models_that_wordnet_does_not_know_or_that_have_no_tree_cannot_be_compared(
    registry: Registry, tmp_path: Path
) -> None:
    path = write_card(tmp_path, wnids=None)
    known = registry.get(NARROW)
    between = Kinships().between
    assert between(known, ModelCard.load(path, cache=tmp_path)) is None
    assert between(card("plain", "cat"), known) is None
    nodes = [{"id": "r", "children": ["a", "b", "c"]}, *({"id": i, "class": k} for k, i in enumerate("abc"))]
    path.with_name("hierarchy.json").write_text(json.dumps({"nodes": nodes}), "utf-8")
    foreign = ModelCard.load(path, cache=tmp_path)
    assert foreign.hierarchy is not None
    assert between(known, foreign) is between(foreign, known) is None


def test_the_kinship_of_two_models_is_worked_out_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    kinships, broad, narrow = Kinships(), registry.get(PHOTOS), registry.get(NARROW)
    first = kinships.between(broad, narrow)
    monkeypatch.setattr(Kinship, "of", None)
    assert kinships.between(replace(broad), replace(narrow)) is first


def test_a_node_is_a_kind_of_what_all_its_classes_are_kinds_of(registry: Registry) -> None:
    tree = registry.get(BROAD).hierarchy
    assert tree is not None
    cat, carnivore, truck = "n02121620", "n02075296", "n04490091"
    assert is_kind_of(tree, cat, carnivore) and is_kind_of(tree, cat, cat)
    assert not is_kind_of(tree, carnivore, cat) and not is_kind_of(tree, truck, cat)
    assert not is_kind_of(tree, cat, "f00000012")
    assert synset("n02121620-kinds") == synset("n02121620") == cat
