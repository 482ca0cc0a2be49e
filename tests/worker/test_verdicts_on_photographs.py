"""What verdicts promise, held against photographs, and against images that show nothing.

The photographs were probably among those that the ImageNet network was trained on, so that the figures are bounds from
above; what is checked here is that no change of the code makes them worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from bench.quality.nonsense import generated
from shared.cards.card import Registry
from shared.cards.verdicts import Level
from shared.images.decode import Photo
from tests.worker.answering import answer_to
from training.pictures import photos1000
from worker.algebra.kinship import Kinships
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.explain.agreement import ModelAnswer, agreements
from worker.explain.predictions import predictions
from worker.explain.verdicts import verdict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # half a minute of one core, and others may be at work

IMAGENET, CIFAR = "efficientnet-lite0-imagenet", "nbdt-cifar10"
AT_ONCE = 25
OF_EACH_KIND = 25
KINSHIPS = Kinships()


@dataclass(frozen=True)
class Judged:
    """N images with the answers of both default models and the verdicts on them when both were asked."""

    broad: Sequence[ModelAnswer]
    narrow: Sequence[ModelAnswer]

    @cached_property
    def levels(self) -> dict[str, list[Level]]:
        """By model."""
        found: dict[str, list[Level]] = {IMAGENET: [], CIFAR: []}
        for pair in zip(self.broad, self.narrow, strict=True):
            said = agreements(pair, KINSHIPS)
            for one in pair:
                found[one.card.name].append(Level(verdict(one, said).level))
        return found

    def alone(self, answers: Sequence[ModelAnswer]) -> list[Level]:
        """The verdicts where one model was asked."""
        return [Level(verdict(one, []).level) for one in answers]


@dataclass(frozen=True)
class Sample:
    """Photographs with their classes, judged."""

    judged: Judged
    labels: list[int]

    @property
    def own(self) -> list[bool]:
        """Whether a photograph shows one of CIFAR-10's classes."""
        kin = KINSHIPS.between(self.judged.broad[0].card, self.judged.narrow[0].card)
        assert kin is not None
        return [bool(kin.table[label].any()) for label in self.labels]


def share(values: Sequence[bool]) -> float:
    assert values, "a share of nothing"
    return float(np.mean(values))


def judge(models: tuple[Model, Model], batches: Iterable[list[Photo]]) -> Judged:
    found: tuple[list[ModelAnswer], list[ModelAnswer]] = ([], [])
    for batch in batches:
        for model, own in zip(models, found, strict=True):
            logits = model.logits(model.features(to_tensors(batch, model.card.input)))
            own.extend(answers(model, logits))
    return Judged(*found)


def answers(model: Model, logits: Tensor) -> list[ModelAnswer]:
    order = logits.sort(dim=1, descending=True, stable=True).indices
    return [
        answer_to(model.card, row, confidence=said.confidence)
        for row, said in zip(logits, predictions(model.card, logits, order), strict=True)
    ]


@pytest.fixture(scope="module")
def models(registry: Registry) -> tuple[Model, Model]:
    return Model.load(registry.get(IMAGENET)), Model.load(registry.get(CIFAR))


@pytest.fixture(scope="module")
def sample(models: tuple[Model, Model], shared_data: Path) -> Sample:
    photographs = photos1000(shared_data)
    batches = (photographs.photos(slice(start, start + AT_ONCE)) for start in range(0, len(photographs), AT_ONCE))
    return Sample(judge(models, batches), photographs.labels.tolist())


@pytest.fixture(scope="module")
def nonsense(models: tuple[Model, Model]) -> Judged:
    return judge(models, generated(OF_EACH_KIND, seed=0).values())


def test_the_answers_of_the_imagenet_network_are_as_right_as_they_were(sample: Sample) -> None:
    sure = [one.sure for one in sample.judged.broad]
    assert (
        share([one.predicted == label for one, label in zip(sample.judged.broad, sample.labels, strict=True)]) >= 0.86
    )
    assert (
        share([one is not None and k in one.group.classes for one, k in zip(sure, sample.labels, strict=True)]) >= 0.95
    )
    assert share([one is not None and one.group.index is not None for one in sure]) >= 0.6


def test_what_is_believed_is_right_in_97_of_100_cases_and_a_guess_mostly_wrong(sample: Sample) -> None:
    right = [one.predicted == label for one, label in zip(sample.judged.broad, sample.labels, strict=True)]
    by_level = {
        level: [fact for fact, found in zip(right, sample.judged.levels[IMAGENET], strict=True) if found is level]
        for level in Level
    }
    assert share(by_level[Level.BELIEVE]) >= 0.97
    assert len(by_level[Level.BELIEVE]) >= 200
    assert share(by_level[Level.GUESS]) < 0.5


def test_a_narrow_model_beside_a_broad_one_tells_foreign_photographs_from_its_own(sample: Sample) -> None:
    levels = sample.judged.levels[CIFAR]
    own = [level for level, is_own in zip(levels, sample.own, strict=True) if is_own]
    foreign = [level for level, is_own in zip(levels, sample.own, strict=True) if not is_own]
    assert len(own) >= 100 and len(foreign) >= 380
    assert share([level is Level.BELIEVE for level in foreign]) <= 0.05
    assert share([level is Level.FOREIGN for level in foreign]) >= 0.7
    assert share([level in (Level.BELIEVE, Level.CARE) for level in own]) >= 0.85


def test_alone_a_narrow_model_is_never_believed(sample: Sample) -> None:
    assert Level.BELIEVE not in sample.judged.alone(sample.judged.narrow)
    alone = sample.judged.alone(sample.judged.broad)
    assert alone == sample.judged.levels[IMAGENET], "a narrower model changes nothing"


@pytest.mark.parametrize("name", [IMAGENET, CIFAR])
def test_of_images_that_show_nothing_hardly_any_answer_is_believed(name: str, nonsense: Judged) -> None:
    assert len(nonsense.levels[name]) >= 4 * OF_EACH_KIND
    assert share([level is Level.BELIEVE for level in nonsense.levels[name]]) <= 0.02
    assert share([level is Level.BELIEVE for level in nonsense.alone(nonsense.broad)]) <= 0.02
