"""One pass of a batch through a network, and what is asked of each picture in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from shared.options import RUNNER_UP
from worker.methods.attribution import Subject
from worker.models import Model
from worker.tree import TreeMode

SEED = 0  # of all that is drawn at random; it travels with the result

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) while a long computation goes on. It may raise to stop it."""


def ignore(stage: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Question:
    """What is asked of one model about one picture. None as target means: the predicted class."""

    target: int | None = None
    contrast: int | str | None = None  # a class index, or RUNNER_UP
    tree: TreeMode | None = TreeMode.MARGINAL  # None: no decision path
    methods: tuple[str, ...] = ("cam",)
    prove: bool = False  # measure faithfulness, stability and agreement too
    warnings: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Forward:
    """What N pictures gave, and the classes that are asked about."""

    model: Model
    inputs: Tensor  # N x 3 x S x S
    features: Tensor  # N x D x h x w
    logits: Tensor  # N x K
    order: Tensor  # N x K, classes from the best down; ties by index
    targets: list[int]
    contrasts: list[int | None]

    @classmethod
    def of(cls, model: Model, inputs: Tensor, questions: Sequence[Question]) -> Forward:
        features = model.features(inputs)
        logits = model.logits(features)
        order = logits.sort(dim=1, descending=True, stable=True).indices
        return cls(model, inputs, features, logits, order, *_choose(order, questions))

    @cached_property
    def predicted(self) -> list[int]:
        return self.order[:, 0].tolist()

    @cached_property
    def scores(self) -> list[float]:
        """What the maps of each image explain: the target's logit, less the contrasted class's."""
        rows = torch.arange(len(self.logits))
        own = self.logits[rows, self.targets]
        others = self.logits[rows, [contrast or 0 for contrast in self.contrasts]]
        contrasted = torch.tensor([contrast is not None for contrast in self.contrasts], device=own.device)
        return torch.where(contrasted, own - others, own).tolist()

    def direction(self, images: Sequence[int]) -> Tensor:
        """The same as rows over the classes, len(images) x K."""
        rows = torch.zeros(len(images), self.logits.shape[1], device=self.logits.device)
        rows[range(len(images)), [self.targets[i] for i in images]] = 1
        contrasted = [(row, k) for row, i in enumerate(images) if (k := self.contrasts[i]) is not None]
        if contrasted:
            rows[tuple(zip(*contrasted, strict=True))] = -1
        return rows

    def subject(self, images: Sequence[int]) -> Subject:
        """What the methods are asked about some of the images."""
        chosen = slice(None) if len(images) == len(self.inputs) else list(images)
        return Subject(self.model, self.inputs[chosen], self.features[chosen], self.direction(images))


def _choose(order: Tensor, questions: Sequence[Question]) -> tuple[list[int], list[int | None]]:
    """Target and contrast class of each image. The runner-up is the best class that is not the target; a class is not
    contrasted with itself, which a prediction may turn out to be."""
    best = order[:, :2].tolist()
    targets = [first[0] if q.target is None else q.target for first, q in zip(best, questions, strict=True)]
    contrasts: list[int | None] = []
    for first, target, question in zip(best, targets, questions, strict=True):
        if question.contrast == RUNNER_UP:
            others = [k for k in first if k != target]
            contrasts.append(others[0] if others else None)
        else:
            asked = None if question.contrast is None else int(question.contrast)
            contrasts.append(None if asked == target else asked)
    return targets, contrasts
