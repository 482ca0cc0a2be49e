"""One pass of a batch through a network, and what is asked of each picture in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from shared.answer.record import Caution
from shared.cards.card import ModelCard
from shared.cards.groups import Group
from shared.options import SURE
from worker.algebra.score import Score
from worker.algebra.tree import TreeMode
from worker.engine.models import Model
from worker.explain.sure import SureGroup, sure_nodes
from worker.methods.attribution import Subject

SEED = 0  # of all that is drawn at random; it travels with the result


@dataclass(frozen=True)
class Question:
    """What is asked of one model about one picture. None as target means: the predicted class."""

    target: Group | str | None = None  # or SURE
    contrast: Group | str | None = None  # or shared.options.RUNNER_UP, or SURE
    tree: TreeMode | None = TreeMode.MARGINAL  # None: no decision path
    methods: tuple[str, ...] = ("cam",)
    prove: bool = False  # measure faithfulness, stability and agreement too
    warnings: tuple[Caution, ...] = ()


@dataclass(frozen=True)
class Forward:
    """What N pictures gave, and the groups of classes that are asked about."""

    model: Model
    inputs: Tensor  # N x 3 x S x S
    features: Tensor  # N x D x h x w
    logits: Tensor  # N x K
    order: Tensor  # N x K, classes from the best down; ties by index
    sure: list[SureGroup | None]  # None of a model without a tree
    targets: list[Group]
    contrasts: list[Group | None]

    @classmethod
    def of(cls, model: Model, inputs: Tensor, questions: Sequence[Question]) -> Forward:
        """One pass of N inputs, N x 3 x H x W, with a question for each."""
        features = model.features(inputs)
        logits = model.logits(features)
        order = logits.sort(dim=1, descending=True, stable=True).indices
        sure = _sure_answers(model, logits)
        return cls(model, inputs, features, logits, order, sure, *_choose(model.card, order, sure, questions))

    @cached_property
    def predicted(self) -> list[int]:
        return self.order[:, 0].tolist()

    @cached_property
    def score(self) -> Score:
        """What the maps of each image explain."""
        targets = [target.classes for target in self.targets]
        contrasts = [contrast.classes if contrast else () for contrast in self.contrasts]
        return Score.of(targets, contrasts, class_count=self.logits.shape[1], device=self.logits.device)

    @cached_property
    def scores(self) -> list[float]:
        """Of each image."""
        return self.score.of_logits(self.logits).tolist()

    @cached_property
    def entropies(self) -> list[float]:
        """The part of each score that has no place in the image, in nats; 0 where single classes are asked about."""
        return self.score.entropies(self.logits).tolist()

    def subject(self, images: Sequence[int]) -> Subject:
        """What the methods are asked about some of the images."""
        chosen = slice(None) if len(images) == len(self.inputs) else list(images)
        tensors = (self.inputs[chosen], self.features[chosen], self.logits[chosen])
        return Subject(self.model, *tensors, self.score[chosen])


def _sure_answers(model: Model, logits: Tensor) -> list[SureGroup | None]:
    card, matrices = model.card, model.matrices
    if matrices is None or card.hierarchy is None:
        return [None] * len(logits)
    nodes = sure_nodes(logits, matrices, at=card.limits.sure_at)
    return [
        SureGroup(
            card.node_group(card.hierarchy.ends[edge]),
            probability,
            card.limits.sure_at,
            is_root=edge == matrices.no_edge,
        )
        for edge, probability in zip(nodes.edges.tolist(), nodes.probabilities.tolist(), strict=True)
    ]


def _choose(
    card: ModelCard, order: Tensor, sure: Sequence[SureGroup | None], questions: Sequence[Question]
) -> tuple[list[Group], list[Group | None]]:
    """Target and contrast of each image. A group is not contrasted with itself, which a prediction or a sure answer may
    turn out to be."""
    targets, contrasts = list[Group](), list[Group | None]()
    for ranked, best, vouched, question in zip(order, order[:, 0].tolist(), sure, questions, strict=True):
        predicted = card.class_group(best)
        known = {None: predicted, SURE: predicted if vouched is None or vouched.is_root else vouched.group}
        target = question.target if isinstance(question.target, Group) else known[question.target]
        contrast = _contrast(card, ranked, question.contrast, target=target, sure=known[SURE])
        targets.append(target)
        contrasts.append(contrast if contrast is None or contrast.classes != target.classes else None)
    return targets, contrasts


def _contrast(
    card: ModelCard, ranked: Tensor, asked: Group | str | None, *, target: Group, sure: Group
) -> Group | None:
    """What is contrasted with the target, of one image with K classes `ranked` from the best down. The runner-up is the
    best class that is not of the target."""
    if asked is None or isinstance(asked, Group):
        return asked
    if asked == SURE:
        return sure
    best = next((k for k in ranked.tolist() if k not in target.classes), None)
    return None if best is None else card.class_group(best)
