"""The parts of the bars on photographs and verdicts: node maps, what is true of an image, and the levels counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.figures import Figure
from bench.quality import earlier, nodes, nonsense, seen
from bench.quality.truth import holds, true_class
from bench.quality.verdicts import Judged, judged
from shared.cards.card import ModelCard, Registry
from shared.cards.verdicts import Level
from training.calibration import SEED
from worker.algebra.kinship import Kinships
from worker.explain.agreement import ModelAnswer
from worker.explain.sure import SureGroup

CIFAR, IMAGENET = "nbdt-cifar10", "efficientnet-lite0-imagenet"
TABBY, BEAR = "n02123045", "n02132136"


@pytest.fixture(scope="session")
def card(registry: Registry) -> ModelCard:
    return registry.get(CIFAR)


def answer(card: ModelCard, class_index: int, *, lead: float = 12.0) -> ModelAnswer:
    """One that vouches for a class."""
    logits = np.zeros(card.class_count, np.float32)
    logits[class_index] = lead
    sure = SureGroup(card.class_group(class_index), 0.99, card.limits.sure_at, is_root=False)
    return ModelAnswer(card, logits, class_index, 0.99, sure)


def test_the_maps_of_all_nodes_add_up_and_those_of_other_features_do_not(card: ModelCard) -> None:
    assert card.hierarchy is not None
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(1, 6, 4, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(10, 6, generator=generator, dtype=torch.float64)
    bias = torch.randn(10, generator=generator, dtype=torch.float64)
    groups = nodes.all_groups(card.hierarchy)
    assert len(groups.target) == len(card.hierarchy.nodes)
    assert nodes.worst(features, weight, bias, groups, dtype=torch.float64) <= 1e-12
    assert nodes.worst(features, weight, bias, groups, dtype=torch.float32) <= 1e-5
    wrong = nodes.residuals(features, weight, bias, groups, mapped=2 * features)
    assert (wrong > 1e-5).all()


def test_an_image_shows_the_class_that_it_is_a_kind_of(card: ModelCard) -> None:
    assert card.hierarchy is not None
    cat = true_class(card, TABBY)
    assert cat is not None and card.classes[cat] == "cat"
    assert true_class(card, BEAR) is None
    animal = card.node_group(card.hierarchy.parent_of[card.hierarchy.leaf_ids[cat]])
    assert holds(card.class_group(cat), TABBY, shown=cat)
    assert not holds(card.class_group(cat), BEAR, shown=None)
    assert holds(animal, TABBY, shown=cat)


def test_a_group_can_hold_of_an_image_of_none_of_the_classes(registry: Registry) -> None:
    card = registry.get(IMAGENET)
    assert card.hierarchy is not None
    deer = "n02430045"  # ImageNet has none, but it is an even-toed ungulate
    assert true_class(card, deer) is None
    assert holds(card.node_group("n02394477"), deer, shown=None)
    assert not holds(card.class_group(card.wnids.index(TABBY)), deer, shown=None)


def test_verdicts_are_counted_with_what_is_true(registry: Registry, card: ModelCard) -> None:
    broad = registry.get(IMAGENET)
    cat = card.classes.index("cat")
    answers = [answer(card, cat), answer(card, cat)]
    beside = [answer(broad, broad.wnids.index(TABBY)), answer(broad, broad.wnids.index(BEAR))]
    found = judged(answers, beside, [TABBY, BEAR], Kinships())
    assert found == [
        Judged(Level.BELIEVE, own=True, first=True, sure=True),
        Judged(Level.FOREIGN, own=False, first=False, sure=False),
    ]
    assert all(one.fits for one in found)
    alone = judged([replace(one, logits=one.logits + 20) for one in answers], None, [TABBY, BEAR], Kinships())
    assert [one.level for one in alone] == [Level.CARE, Level.CARE]
    assert [one.fits for one in alone] == [True, False]


def test_images_of_no_object_are_the_same_for_the_same_seed_and_different_from_each_other() -> None:
    first, again = (nonsense.generated(2, seed=3) for _ in range(2))
    for kind, photos in first.items():
        arrays = [np.asarray(photo.pixels) for photo in photos]
        assert all(array.std() > 1 for array in arrays)
        assert not np.array_equal(arrays[0], arrays[1])
        assert all(map(np.array_equal, arrays, [np.asarray(photo.pixels) for photo in again[kind]]))


def test_the_installed_images_of_no_object_need_no_download() -> None:
    assert set(nonsense.installed()) == set(nonsense.INSTALLED)


def test_the_page_lists_the_figures_on_photographs_that_were_probably_seen() -> None:
    figures = [
        Figure("bound", 1.0, meaning=f"It means this. {seen.BOUND}"),
        Figure("same", 1.0, meaning=f"It means that. {seen.NO_MATTER}"),
        Figure("other", 1.0, meaning="It means something else."),
    ]
    text = seen.note(figures)
    bounds, others = text.split("On the same photographs")
    assert "- bound" in bounds and "- same" not in bounds
    assert "- same" in others
    assert "other" not in [line.removeprefix("- ") for line in text.splitlines()]
    assert seen.note(figures[2:]) == ""


def test_bars_of_earlier_runs_keep_the_place_where_they_were_measured() -> None:
    old, older = ({"commit": commit, "cores": 2, "cpu": "a processor"} for commit in ("old", "older"))
    before = earlier.Earlier({"Q1": [], "Q2": [], "Q3": []}, {**old, earlier.EARLIER: {"Q1": older}})
    assert before.context_of(["Q1", "Q2"]) == {earlier.EARLIER: {"Q1": older, "Q2": old}}
    assert before.context_of([]) == {}
    text = earlier.note(before.context_of(["Q1", "Q2", "Q3"]))
    assert "- Q1: commit older, 2 cores" in text
    assert "- Q2, Q3: commit old, 2 cores" in text
    assert earlier.note({}) == ""


def test_the_half_that_chose_a_limit_is_not_the_half_that_is_measured() -> None:
    from bench.quality.context import Context

    assert Context.__init__.__kwdefaults__ is not None
    assert Context.__init__.__kwdefaults__["seed"] == SEED
