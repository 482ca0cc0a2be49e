"""The rule of the verdicts: every level for every reason, of real models, in whatever order they were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import pytest
import torch
from PIL import Image

from shared.answer.explanation import Verdict
from shared.answer.maps import Certificate
from shared.cards.card import ModelCard, Registry
from shared.cards.verdicts import SENTENCES, Level
from shared.images.decode import Photo
from shared.jobs import JobOptions
from tests.shared.cards import card
from tests.worker.answering import FAMILIAR, answer, answer_to
from worker.algebra import maps
from worker.algebra.kinship import Kinships
from worker.engine.model_cache import ModelCache
from worker.explain.agreement import ModelAnswer, agreements
from worker.explain.answers import answer as answer_jobs
from worker.explain.query import Query
from worker.explain.verdicts import verdict

IMAGENET, CIFAR, PHOTOS = "efficientnet-lite0-imagenet", "nbdt-cifar10", "resnet18-photos100"
KINSHIPS = Kinships()
UNFAMILIAR = 1.0  # log-sum-exp of the logits, below the limit of every card
TABBY, CAT, FROG = {"tabby": 0.9}, {"cat": 0.9}, {"frog": 0.9}
CATS = {"tabby": 0.5, "Egyptian cat": 0.35}
NOTHING = {"tabby": 0.3, "strawberry": 0.25, "espresso": 0.25}
SPREAD = {"artifact": 0.4, "fruit": 0.4, "bird": 0.15}
MAMMALS = {"impala": 0.3, "zebra": 0.3, "tabby": 0.2, "beaver": 0.15}


@dataclass(frozen=True)
class Case:
    """What the ImageNet network answers, what the CIFAR-10 network does where it was asked too, and the verdict on the
    last of them."""

    level: Level
    reasons: tuple[str, ...]
    text: str
    broad: Mapping[str, float] | None = None
    narrow: Mapping[str, float] | None = None
    energy: float = FAMILIAR
    detail: float = 1.0  # of the image, as the ImageNet network sees it

    def verdict(self, registry: Registry) -> Verdict:
        asked = ((IMAGENET, self.broad), (CIFAR, self.narrow))
        answers = [answer(registry.get(name), of, energy=self.energy) for name, of in asked if of is not None]
        if self.broad is not None:
            answers[0] = replace(answers[0], detail=self.detail)
        return verdict(answers[-1], agreements(answers, KINSHIPS))


BELIEVE, CARE, GUESS, FOREIGN = Level
TABLE = [
    Case(BELIEVE, ("sure_class",), "tabby: the model vouches for this class (90.0%).", broad=TABBY),
    Case(CARE, ("likely_class",), "tabby is likely (80.0%), but not certain.", broad={"tabby": 0.8}),
    Case(
        CARE,
        ("small_image", "sure_class"),
        "tabby, perhaps: the image has too few pixels for this model, which looks at 224 × 224.",
        broad=TABBY,
        detail=0.49,
    ),
    Case(BELIEVE, ("sure_class",), "tabby: the model vouches for this class (90.0%).", broad=TABBY, detail=0.5),
    Case(
        GUESS,
        ("small_image", "sure_group"),
        "tabby, perhaps: the image has too few pixels for this model, which looks at 224 × 224.",
        broad=CATS,
        energy=UNFAMILIAR,
        detail=0.1,
    ),
    Case(
        CARE,
        ("narrow", "sure_class"),
        "cat, if the image shows one of the model’s 10 classes; it has no way to say that it shows none.",
        broad={"strawberry": 0.9},
        narrow=CAT,
        detail=0.1,
    ),
    Case(
        BELIEVE,
        ("confirmed",),
        "cat: the model vouches for this class (80.0%), and EfficientNet-Lite0 on ImageNet-1K agrees.",
        broad=TABBY,
        narrow={"cat": 0.8},
    ),
    Case(
        CARE,
        ("sure_group",),
        "domestic cat (85.0%); which of its 5 kinds is less sure: tabby is the likeliest.",
        broad=CATS,
    ),
    Case(
        CARE,
        ("nothing_sure",),
        "The model vouches for no group of its classes; tabby (30.0%) is only the likeliest.",
        broad=NOTHING,
    ),
    Case(
        GUESS,
        ("low_confidence",),
        "A guess: tabby has 10.0%, and of answers as unsure as this more were wrong than right.",
        broad={"tabby": 0.1},
    ),
    Case(
        CARE,
        ("unfamiliar_sure", "sure_class"),
        "tabby, perhaps: the image is unlike those that the model knows.",
        broad=TABBY,
        energy=UNFAMILIAR,
    ),
    Case(
        FOREIGN,
        ("unfamiliar", "sure_group"),
        "Nothing the model knows: the image is unlike those that it was made for.",
        broad=CATS,
        energy=UNFAMILIAR,
    ),
    Case(
        CARE,
        ("narrow", "sure_class"),
        "cat, if the image shows one of the model’s 10 classes; it has no way to say that it shows none.",
        narrow=CAT,
    ),
    Case(
        FOREIGN,
        ("unfamiliar", "sure_class"),
        "Nothing the model knows: the image is unlike those that it was made for.",
        narrow=CAT,
        energy=UNFAMILIAR,
    ),
    Case(
        GUESS,
        ("low_confidence",),
        "A guess: cat has 40.0%, and of answers as unsure as this more were wrong than right.",
        narrow={"cat": 0.4, "ship": 0.3},
    ),
    Case(
        BELIEVE,
        ("confirmed",),
        "cat: the model vouches for this class (90.0%), and EfficientNet-Lite0 on ImageNet-1K agrees.",
        broad=TABBY,
        narrow=CAT,
    ),
    Case(
        CARE,
        ("unsure_confirmed", "nothing_sure"),
        "cat: the model itself is not sure (60.0%), but EfficientNet-Lite0 on ImageNet-1K agrees.",
        broad=TABBY,
        narrow={"cat": 0.6, "ship": 0.4},
    ),
    Case(
        CARE,
        ("sure_group",),
        "carnivore (90.0%); which of its 2 kinds is less sure: cat is the likeliest.",
        broad=TABBY,
        narrow={"cat": 0.5, "dog": 0.4},
    ),
    Case(
        CARE,
        ("shared_group", "sure_class"),
        "No more than carnivore: EfficientNet-Lite0 on ImageNet-1K answers Pekinese, not cat.",
        broad={"Pekinese": 0.9},
        narrow=CAT,
    ),
    Case(
        CARE,
        ("unclear", "sure_class"),
        "cat, perhaps: EfficientNet-Lite0 on ImageNet-1K neither confirms it nor rules it out.",
        broad={"tabby": 0.5, "strawberry": 0.5},
        narrow=CAT,
    ),
    Case(
        CARE,
        ("unclear", "sure_class"),
        "cat, perhaps: EfficientNet-Lite0 on ImageNet-1K neither confirms it nor rules it out.",
        broad=MAMMALS,
        narrow=CAT,
    ),
    Case(
        GUESS,
        ("contradicted", "sure_class"),
        "Probably wrong: EfficientNet-Lite0 on ImageNet-1K answers goldfinch, which is not airplane.",
        broad={"goldfinch": 0.9},
        narrow={"airplane": 0.9},
    ),
    Case(
        FOREIGN,
        ("none_of_its_classes", "sure_class"),
        "None of its 10 classes: EfficientNet-Lite0 on ImageNet-1K answers strawberry.",
        broad={"strawberry": 0.9},
        narrow=FROG,
    ),
    Case(
        FOREIGN,
        ("outside", "sure_class"),
        "",  # the share depends on what is left for classes that are not named
        broad=SPREAD,
        narrow=FROG,
    ),
    Case(
        BELIEVE,
        ("confirmed",),
        "deer: the model vouches for this class (90.0%), and EfficientNet-Lite0 on ImageNet-1K agrees.",
        broad={"impala": 0.9},
        narrow={"deer": 0.9},
    ),
]


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.broad} {case.narrow} {case.energy}")
def test_every_level_and_every_reason(case: Case, registry: Registry) -> None:
    found = case.verdict(registry)
    assert (found.level, found.reasons) == (case.level, case.reasons)
    told = found.to_dict()
    assert told["level"] == case.level.value and told["reasons"] == list(case.reasons)
    if case.text:
        assert told["text"] == case.text


def test_the_table_and_that_of_peers_reach_every_sentence_there_is() -> None:
    reached = {reason for case in TABLE for reason in case.reasons}
    assert reached | {"peer_contradicts"} == set(SENTENCES)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.broad} {case.narrow} {case.energy}")
def test_every_parameter_of_a_sentence_is_filled(case: Case, registry: Registry) -> None:
    found = case.verdict(registry)
    used = [name for name in found.params if f"{{{name}}}" in SENTENCES[found.reasons[0]]]
    assert used or found.reasons[0] == "unfamiliar"
    assert all(found.params[name] not in (None, "") for name in used)


# -- more than one model ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def peers(registry: Registry) -> tuple[ModelCard, ModelCard]:
    """The ImageNet network, and another one with the same classes."""
    broad = registry.get(IMAGENET)
    return broad, replace(broad, name="peer", title="Peer")


def verdicts(answers: Sequence[ModelAnswer]) -> dict[str, Verdict]:
    found = agreements(answers, KINSHIPS)
    return {one.card.name: verdict(one, found) for one in answers}


def test_of_two_peers_that_contradict_each_other_neither_is_believed(peers: tuple[ModelCard, ModelCard]) -> None:
    found = verdicts([answer(peers[0], TABBY), answer(peers[1], {"strawberry": 0.9})])
    assert found[IMAGENET].to_dict()["text"] == "tabby, perhaps: Peer answers strawberry."
    for one in found.values():
        assert (one.level, one.reasons) == (Level.CARE, ("peer_contradicts", "sure_class"))


def test_a_peer_that_agrees_or_cannot_tell_takes_nothing_away(peers: tuple[ModelCard, ModelCard]) -> None:
    for other in (TABBY, {"tabby": 0.4, "Egyptian cat": 0.35}):
        assert verdicts([answer(peers[0], TABBY), answer(peers[1], other)])[IMAGENET].level == Level.BELIEVE


def test_what_the_broadest_model_says_is_told_in_its_name_even_where_a_peer_contradicts(registry: Registry) -> None:
    narrow = registry.get(CIFAR)
    other = replace(narrow, name="other-cifar10", title="Other")
    answers = [answer(registry.get(IMAGENET), {"Pekinese": 0.9}), answer(narrow, CAT), answer(other, {"ship": 0.9})]
    found = verdicts(answers)[CIFAR]
    assert found.to_dict()["text"] == (
        "No more than carnivore: EfficientNet-Lite0 on ImageNet-1K answers Pekinese, not cat."
    )


def test_of_three_models_the_broadest_one_speaks(registry: Registry) -> None:
    """The middle one would confirm the cat."""
    answers = [
        answer(registry.get(CIFAR), CAT),
        answer(registry.get(PHOTOS), TABBY),
        answer(registry.get(IMAGENET), {"strawberry": 0.9}),
    ]
    found = verdicts(answers)
    assert {name: one.level for name, one in found.items()} == {
        CIFAR: Level.FOREIGN,
        PHOTOS: Level.FOREIGN,
        IMAGENET: Level.BELIEVE,
    }


def test_of_several_broadest_models_the_one_counts_that_says_the_worst(
    registry: Registry, peers: tuple[ModelCard, ModelCard]
) -> None:
    answers = [answer(peers[0], TABBY), answer(peers[1], {"strawberry": 0.9}), answer(registry.get(CIFAR), CAT)]
    for order in permutations(answers):
        found = verdicts(order)[CIFAR]
        assert (found.level, found.params["other"]) == (Level.FOREIGN, "Peer")


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_models_in_the_job_changes_no_verdict(
    seed: int, registry: Registry, peers: tuple[ModelCard, ModelCard]
) -> None:
    random = torch.Generator().manual_seed(seed)
    answers = []
    for model in (*peers, registry.get(CIFAR), registry.get(PHOTOS)):
        logits = 4 * torch.randn(model.class_count, generator=random)
        words = ("tabby", "espresso", "Egyptian cat", "school bus")
        likely = model.group(words[int(torch.randint(4, (1,), generator=random))]) or model.group("cat")
        assert likely is not None
        logits[list(likely.classes)] += 16 + 4 * torch.rand(1, generator=random)
        answers.append(answer_to(model, logits))
    expected = {name: one.to_dict() for name, one in verdicts(answers).items()}
    for order in permutations(answers):
        assert {name: one.to_dict() for name, one in verdicts(order).items()} == expected


def test_a_model_without_a_tree_is_judged_by_its_confidence_alone(registry: Registry) -> None:
    narrow = card("plain", "cat", "dog")
    wide = card("wide", *(f"class {k}" for k in range(500)))
    level = {
        (one.card.name, one.confidence): verdicts([one, answer(registry.get(IMAGENET), {"strawberry": 0.9})])[
            one.card.name
        ]
        for one in (
            answer(narrow, {"cat": 0.9}),
            answer(narrow, {"cat": 0.55}),
            answer(wide, {"class 3": 0.9}),
            answer(wide, {"class 3": 0.6}),
            answer(wide, {"class 3": 0.3}),
        )
    }
    assert [(one.level, one.reasons[0]) for one in level.values()] == [
        (Level.CARE, "narrow"),
        (Level.CARE, "narrow"),
        (Level.BELIEVE, "sure_class"),
        (Level.CARE, "nothing_sure"),
        (Level.GUESS, "low_confidence"),
    ]


def test_a_certificate_never_changes_a_verdict(
    registry: Registry, photos: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    model_cache = ModelCache(registry, share_of_cores=8)
    queries = [Query(Photo.whole(photos[name]), JobOptions((IMAGENET, CIFAR))) for name in ("chelsea", "coffee")]
    whole = answer_jobs(model_cache, queries)
    monkeypatch.setattr(
        maps,
        "certify",
        lambda mean, terms, constant, score, tolerance: Certificate(
            bias=constant, score=score, residual=float("inf"), tolerance=tolerance, exact=False
        ),
    )
    for before, after in zip(whole, answer_jobs(model_cache, queries), strict=True):
        for one, broken in zip(before.document["explanations"], after.document["explanations"], strict=True):
            assert one["maps"][0]["exactness"]["exact"] and not broken["maps"][0]["exactness"]["exact"]
            assert one["verdict"] == broken["verdict"]
            assert one["verdict"]["level"] in list(Level)
        assert before.document["agreement"] == after.document["agreement"] and len(before.document["agreement"]) == 1
