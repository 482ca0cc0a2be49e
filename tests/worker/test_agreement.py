"""What two answers say of each other: a table of all relations, of real models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from shared.cards.card import ModelCard, Registry
from tests.shared.cards import card, write_card
from tests.worker.answering import answer
from worker.algebra.kinship import Kinships
from worker.explain.agreement import SENTENCES, Agreement, ModelAnswer, Relation, agreements

IMAGENET, CIFAR, PHOTOS = "efficientnet-lite0-imagenet", "nbdt-cifar10", "resnet18-photos100"
BROAD, NARROW = "EfficientNet-Lite0 on ImageNet-1K", "Neural-backed decision tree on CIFAR-10"
CARS = {"minivan": 0.4, "convertible": 0.35, "sports car": 0.2}  # WordNet's tree has the first among the vans
THINGS = {"artifact": 0.4, "fruit": 0.4, "bird": 0.15}
KINSHIPS = Kinships()

TABLE: list[tuple[Mapping[str, float], Mapping[str, float], Relation, str]] = [
    ({"bird": 0.95}, {"bird": 0.95}, Relation.SAME, f"{BROAD} and {NARROW} both answer bird."),
    (
        {"tabby": 0.9},
        {"cat": 0.9},
        Relation.KIND,
        f"{BROAD} answers tabby, which is a kind of cat, the answer of {NARROW}.",
    ),
    (
        CARS,
        {"automobile": 0.9},
        Relation.KIND,
        f"{NARROW} answers automobile, which is a kind of motor vehicle, the answer of {BROAD}.",
    ),
    (
        {"impala": 0.9},
        {"deer": 0.9},
        Relation.COMPATIBLE,
        f"{BROAD} answers impala and {NARROW} deer; both can be true.",
    ),
    (
        {"Pekinese": 0.9},
        {"cat": 0.9},
        Relation.GROUP,
        f"{BROAD} answers Pekinese and {NARROW} cat; they agree on carnivore.",
    ),
    (
        {"goldfinch": 0.9},
        {"airplane": 0.9},
        Relation.EXCLUDES,
        f"{BROAD} answers goldfinch and {NARROW} airplane; only one of them can be true.",
    ),
    (
        {"strawberry": 0.9},
        {"frog": 0.9},
        Relation.FOREIGN,
        f"{BROAD} answers strawberry, which is none of the 10 classes of {NARROW}.",
    ),
    (THINGS, {"frog": 0.9}, Relation.FOREIGN, ""),
    (
        {"tabby": 0.5, "strawberry": 0.5},
        {"cat": 0.9},
        Relation.UNCLEAR,
        f"{BROAD} is not sure enough to confirm cat, the answer of {NARROW}, or to rule it out.",
    ),
]


@pytest.fixture
def ask(registry: Registry) -> tuple[ModelCard, ModelCard]:
    return registry.get(IMAGENET), registry.get(CIFAR)


def said(*answers: ModelAnswer) -> Agreement:
    (found,) = agreements(answers, KINSHIPS)
    return found


@pytest.mark.parametrize(("ours", "theirs", "relation", "text"), TABLE, ids=[f"{a}-{b}" for a, b, _, _ in TABLE])
def test_every_relation(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    relation: Relation,
    text: str,
    ask: tuple[ModelCard, ModelCard],
) -> None:
    broad, narrow = answer(ask[0], ours), answer(ask[1], theirs)
    found, turned = said(broad, narrow), said(narrow, broad)
    assert found.relation is relation
    assert found.record().to_dict() == turned.record().to_dict()
    assert found.record().models == (IMAGENET, CIFAR)
    if text:
        assert found.record().text == text


def test_where_the_broad_model_vouches_for_nothing_it_tells_how_little_it_gives_to_the_narrow_ones_classes(
    ask: tuple[ModelCard, ModelCard],
) -> None:
    found = said(answer(ask[0], {"fruit": 0.5, "geological formation": 0.45}), answer(ask[1], {"frog": 0.9}))
    assert (found.relation, found.code) == (Relation.FOREIGN, "outside")
    assert found.share is not None and found.share < 0.05
    assert found.record().text == f"{BROAD} gives {found.params['share']} to all 10 classes of {NARROW} together."


def test_sums_decide_so_that_an_answer_spread_over_many_classes_confirms_as_well(
    ask: tuple[ModelCard, ModelCard],
) -> None:
    """No car has half of the probability, and all of them together have enough."""
    found = said(answer(ask[0], CARS), answer(ask[1], {"automobile": 0.9}))
    assert (found.relation, found.code) == (Relation.KIND, "kind_narrow")
    assert found.shared is not None and found.shared.name == "automobile"


def test_an_answer_that_includes_the_other_is_never_said_to_exclude_it(ask: tuple[ModelCard, ModelCard]) -> None:
    """A mammal may be a cat; the broad model only finds other mammals likelier."""
    mammals = {"impala": 0.3, "zebra": 0.3, "tabby": 0.2, "beaver": 0.15}
    found = said(answer(ask[0], mammals), answer(ask[1], {"cat": 0.9}))
    assert found.broad.group.name == "mammal"
    assert found.relation is Relation.UNCLEAR


def test_a_class_that_the_broad_model_cannot_place_is_not_confirmed(registry: Registry, tmp_path: Path) -> None:
    path = write_card(tmp_path, name="own", classes=["cat", "widget"], class_count=2, wnids=None)
    nodes = [
        {"id": "r", "children": ["n02121620", "widget"]},
        {"id": "n02121620", "class": 0},
        {"id": "widget", "class": 1},
    ]
    path.with_name("hierarchy.json").write_text(json.dumps({"nodes": nodes}), "utf-8")
    own = ModelCard.load(path, cache=tmp_path)
    broad = registry.get(IMAGENET)
    assert said(answer(broad, {"strawberry": 0.9}), answer(own, {"widget": 0.9})).relation is Relation.UNCLEAR
    assert said(answer(broad, {"tabby": 0.9}), answer(own, {"cat": 0.9})).relation is Relation.KIND


def test_models_that_cannot_be_compared_say_so(registry: Registry) -> None:
    plain = card("plain", "cat", "dog")
    found = said(answer(plain, {"cat": 0.9}), answer(registry.get(CIFAR), {"cat": 0.9}))
    assert found.relation is Relation.UNKNOWN and found.shared is None and found.share is None
    assert found.record().text == f"The classes of {NARROW} and plain cannot be compared."


def test_of_two_peers_the_less_sure_one_is_asked_whatever_their_order(ask: tuple[ModelCard, ModelCard]) -> None:
    peer = replace(ask[0], name="peer", title="Peer")
    sure, unsure = answer(ask[0], {"tabby": 0.9}), answer(peer, {"Egyptian cat": 0.5, "tabby": 0.4})
    for pair in ((sure, unsure), (unsure, sure)):
        found = said(*pair)
        assert (found.broad, found.narrow) == (unsure, sure)
    against = said(answer(ask[0], {"tabby": 0.9}), answer(peer, {"strawberry": 0.95}))
    assert against.relation is Relation.EXCLUDES and against.broad.card.name == IMAGENET


def test_three_models_are_compared_in_pairs_the_broad_one_first(registry: Registry) -> None:
    answers = [answer(registry.get(name), {"tabby": 0.9}) for name in (PHOTOS, IMAGENET)]
    answers.insert(1, answer(registry.get(CIFAR), {"cat": 0.9}))
    found = agreements(answers, KINSHIPS)
    assert [tuple(one.record().models) for one in found] == [
        (PHOTOS, CIFAR),
        (IMAGENET, PHOTOS),
        (IMAGENET, CIFAR),
    ]
    assert [one.relation for one in found] == [Relation.KIND, Relation.SAME, Relation.KIND]
    assert agreements(answers[:1], KINSHIPS) == []


def test_a_broad_model_does_not_judge_an_image_that_is_too_small_for_it(registry: Registry) -> None:
    broad, narrow = answer(registry.get(IMAGENET), {"strawberry": 0.9}), answer(registry.get(CIFAR), {"cat": 0.9})
    for detail, relation in ((0.5, Relation.FOREIGN), (0.49, Relation.UNKNOWN)):
        (found,) = agreements([replace(broad, detail=detail), narrow], KINSHIPS)
        assert found.relation is relation
    assert found.record().text == (
        "EfficientNet-Lite0 on ImageNet-1K cannot judge the answer of Neural-backed decision tree on CIFAR-10: "
        "the image has too few pixels for it."
    )


def test_every_sentence_belongs_to_a_relation_and_every_relation_has_one() -> None:
    kinds = {"kind_broad", "kind_narrow", "outside", "small_image"}
    assert set(SENTENCES) - kinds | {"kind"} == {relation.value for relation in Relation}
