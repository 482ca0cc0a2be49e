"""Groups of classes: what a word names in a model, a class before a node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.cards.card import ModelCard, Registry
from shared.cards.groups import Group
from shared.errors import InvalidOption
from shared.jobs import JobOptions
from shared.options import RUNNER_UP, SURE, Plan, plan
from tests.shared.cards import card, write_card

EFFICIENTNET = "efficientnet-lite0-imagenet"
NODES = [
    {"id": "r", "name": "pet", "children": ["cats", "d"]},
    {"id": "cats", "name": "Siamese Cat", "children": ["c0", "c1", "c3"]},
    {"id": "d", "name": None, "children": ["c2", "b"]},
    {"id": "b", "name": "bird", "children": ["b1", "b2"]},
    {"id": "b1", "name": "Finch", "children": ["c4"]},
    {"id": "b2", "name": "finch", "children": ["c5"]},
    *({"id": f"c{k}", "name": name, "class": k} for k, name in enumerate(("a", "b", "c", "e", "f", "g"))),
]
CLASSES = ["Siamese cat, Siamese", "tabby", "dog", "lynx", "zebra finch", "bullfinch"]


@pytest.fixture
def pets(tmp_path: Path) -> ModelCard:
    """A model whose node `Cat` has the name of one of its classes, and two of whose nodes have the same name."""
    path = write_card(tmp_path, class_count=6, classes=CLASSES, wnids=None)
    path.with_name("hierarchy.json").write_text(json.dumps({"nodes": NODES}), "utf-8")
    return ModelCard.load(path, cache=tmp_path)


@pytest.mark.parametrize(
    ("word", "node", "classes"),
    [
        ("tabby", "c1", (1,)),
        ("Siamese cat, Siamese", "c0", (0,)),
        ("Siamese Cat", "c0", (0,)),
        (" SIAMESE CAT ", "c0", (0,)),
        ("cats", "cats", (0, 1, 3)),
        ("pet", "r", (0, 1, 2, 3, 4, 5)),
        ("PET", "r", (0, 1, 2, 3, 4, 5)),
        ("c2", "c2", (2,)),
        ("d", "d", (2, 4, 5)),
        (" bird", "b", (4, 5)),
        ("b1", "b1", (4,)),
        ("bullfinch", "c5", (5,)),
    ],
)
def test_a_word_names_a_class_by_its_name_or_a_node_by_its_id_or_name(
    word: str, node: str, classes: tuple[int, ...], pets: ModelCard
) -> None:
    """Where a class and a node have the same name, it is the class."""
    found = pets.group(word)
    assert found is not None and (found.node, found.classes) == (node, classes)


@pytest.mark.parametrize("word", ["", " ", "Siamese", "SIAMESE CATS", "C2", "None", "wolf", "0"])
def test_any_other_word_names_nothing(word: str, pets: ModelCard) -> None:
    """Ids are as they are written; numbers are for the options to read."""
    assert pets.group(word) is None


def test_a_name_of_two_nodes_is_refused_naming_their_ids(pets: ModelCard) -> None:
    with pytest.raises(InvalidOption) as caught:
        pets.group("FINCH")
    assert str(caught.value) == "'FINCH' names several nodes of pets: b1, b2; give one of these ids"
    with pytest.raises(InvalidOption, match="^contrast: 'finch' names several nodes of pets: b1, b2; give one"):
        plan(JobOptions(("pets",), contrast="finch"), Registry({"pets": pets}))


def test_a_model_without_a_tree_has_its_classes_alone() -> None:
    plain = card("plain", "Siamese cat", "dog")
    assert plain.group("dog") == Group("dog", (1,), None)
    assert plain.group("animal") is None


def test_a_group_has_its_name_its_node_and_its_class_where_it_is_one(pets: ModelCard) -> None:
    one, bird = pets.class_group(0), pets.node_group("b")
    assert (one.index, one.name, one.node) == (0, "Siamese cat, Siamese", "c0")
    assert (bird.index, bird.name, bird.node) == (None, "bird", "b")
    assert pets.node_group("c2") == pets.class_group(2)
    assert pets.node_group("d").name == "dog / zebra finch / bullfinch"
    with pytest.raises(KeyError):
        pets.node_group("wolf")


def test_a_node_is_planned_for_every_model_that_has_it(pets: ModelCard) -> None:
    zoo = card("zoo", "bird", "lion")
    registry = Registry({"pets": pets, "zoo": zoo})
    plans = plan(JobOptions(("pets", "zoo"), target="bird", contrast=RUNNER_UP), registry)
    assert plans["pets"] == Plan(pets.node_group("b"), RUNNER_UP)
    assert plans["zoo"] == Plan(zoo.class_group(0), RUNNER_UP)
    lacking = plan(JobOptions(("pets", "zoo"), target="pet"), registry)["zoo"]
    assert lacking.target is None and [one.code for one in lacking.warnings] == ["class_not_in_model"]


def test_the_sure_answer_is_left_to_each_image(pets: ModelCard) -> None:
    registry = Registry({"pets": pets})
    assert plan(JobOptions(("pets",), target=SURE, contrast="dog"), registry)["pets"] == Plan(SURE, pets.class_group(2))
    assert plan(JobOptions(("pets",), contrast=SURE), registry)["pets"] == Plan(None, SURE)
    for word in (SURE, "b", "bird"):
        with pytest.raises(InvalidOption, match="^contrast: a class or node cannot be contrasted with itself$"):
            plan(JobOptions(("pets",), target=word, contrast=word), registry)


@pytest.mark.parametrize("name", [EFFICIENTNET, "resnet18-photos100", "nbdt-cifar10"])
def test_every_class_and_every_node_of_a_shipped_model_can_be_named_by_its_id(name: str, registry: Registry) -> None:
    model = registry.get(name)
    assert model.hierarchy is not None
    for node in model.hierarchy.nodes:
        assert model.group(node.id) == model.node_group(node.id)
    for index in range(model.class_count):
        assert (
            model.group(model.classes[index])
            == model.class_group(index)
            == model.node_group(model.hierarchy.leaf_ids[index])
        )


def test_every_inner_node_of_the_imagenet_network_can_be_named(registry: Registry) -> None:
    model = registry.get(EFFICIENTNET)
    assert model.hierarchy is not None
    for node in model.hierarchy.decisions:
        assert model.group(str(node.name)) == model.node_group(node.id)
