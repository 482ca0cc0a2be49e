"""What two models' answers to the same image say of each other.

The model with more classes, the broad one, is asked how much of its probability goes to what the narrow one answers,
and how much to anything that the narrow one knows. Sums of probability decide, not names alone, so that an answer that
the broad model spreads over many classes still counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from shared.answer.answer import ModelAgreement
from shared.answer.record import Params
from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from shared.cards.groups import Group
from shared.drawing.phrases import percent
from worker.algebra.kinship import Kinship, Kinships, is_kind_of, synset
from worker.explain.sure import SureGroup


class Relation(StrEnum):
    SAME = "same"  # both answer the same
    KIND = "kind"  # one answer is a kind of the other
    COMPATIBLE = "compatible"  # both can be true
    GROUP = "group"  # they differ, within a group of the narrow model that both see
    EXCLUDES = "excludes"  # only one of them can be true
    FOREIGN = "foreign"  # what the broad model sees is none of the narrow one's classes
    UNCLEAR = "unclear"  # the broad model is not sure enough to tell
    UNKNOWN = "unknown"  # the classes cannot be compared, or the image is too small for the broad model


LITTLE_DETAIL = 0.5
"""Of a model's own resolution. An image with less, enlarged to the input, looks to it like nothing that it learned."""


@dataclass(frozen=True)
class ModelAnswer:
    """What one model answers to one image."""

    card: ModelCard
    logits: NDArray[np.float32]  # K
    predicted: int
    confidence: float  # of the prediction: calibrated where the card has a temperature, else the softmax
    sure: SureGroup | None  # None of a model without a tree
    detail: float = 1.0  # pixels of the image for each pixel of the model's view, along a side

    @property
    def is_of_small_image(self) -> bool:
        """Whether the image has too few pixels for the model."""
        return self.detail < LITTLE_DETAIL

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """K."""
        odds = np.exp(self.logits - self.logits.max())
        shares: NDArray[np.float32] = odds / odds.sum()
        return shares

    @property
    def group(self) -> Group:
        """The sure answer; the prediction where it vouches for nothing or has no tree."""
        if self.sure is None or self.sure.is_root:
            return self.card.class_group(self.predicted)
        return self.sure.group


@dataclass(frozen=True)
class Agreement:
    """One pair. `shared` is the deepest group on the narrow model's path that the broad one vouches for too; `share` is
    the probability that it gives to all classes of the narrow one."""

    broad: ModelAnswer
    narrow: ModelAnswer
    relation: Relation
    code: str
    shared: Group | None = None
    share: float | None = None
    params: Params = field(default_factory=dict)

    def record(self) -> ModelAgreement:
        """As it is stored."""
        return ModelAgreement(
            models=(self.broad.card.name, self.narrow.card.name),
            relation=self.relation.value,
            code=self.code,
            params=self.params,
            text=SENTENCES[self.code].format(**self.params),
        )


SENTENCES: Mapping[str, str] = {
    "same": "{broad} and {narrow} both answer {ours}.",
    "kind_broad": "{broad} answers {ours}, which is a kind of {theirs}, the answer of {narrow}.",
    "kind_narrow": "{narrow} answers {theirs}, which is a kind of {ours}, the answer of {broad}.",
    "compatible": "{broad} answers {ours} and {narrow} {theirs}; both can be true.",
    "group": "{broad} answers {ours} and {narrow} {theirs}; they agree on {shared}.",
    "excludes": "{broad} answers {ours} and {narrow} {theirs}; only one of them can be true.",
    "foreign": "{broad} answers {ours}, which is none of the {count} classes of {narrow}.",
    "outside": "{broad} gives {share} to all {count} classes of {narrow} together.",
    "unclear": "{broad} is not sure enough to confirm {theirs}, the answer of {narrow}, or to rule it out.",
    "small_image": "{broad} cannot judge the answer of {narrow}: the image has too few pixels for it.",
    "unknown": "The classes of {broad} and {narrow} cannot be compared.",
}


def agreements(answers: Sequence[ModelAnswer], kinships: Kinships) -> list[Agreement]:
    """One for each pair of models, the broad one first; of two with as many classes, the less confident one, so that
    the surer answer is held against what the other model gives to it, in whatever order they were asked."""
    pairs = (sorted(pair, key=_breadth) for pair in combinations(answers, 2))
    return [agreement(broad, narrow, kinships.between(broad.card, narrow.card)) for broad, narrow in pairs]


def agreement(broad: ModelAnswer, narrow: ModelAnswer, kin: Kinship | None) -> Agreement:
    """How two answers relate; `kin` is None where their classes cannot be compared."""
    params: Params = {
        "broad": broad.card.title,
        "narrow": narrow.card.title,
        "ours": short_name(broad.group.name),
        "theirs": short_name(narrow.group.name),
        "count": narrow.card.class_count,
    }
    if kin is None:
        return Agreement(broad, narrow, Relation.UNKNOWN, "unknown", params=params)
    if broad.is_of_small_image:
        return Agreement(broad, narrow, Relation.UNKNOWN, "small_image", params=params)
    at, probabilities = broad.card.limits.sure_at, broad.probabilities
    share = kin.support(probabilities, range(narrow.card.class_count))
    params["share"] = percent(share)
    if share <= 1 - at:
        names_it = not kin.touches(broad.group.classes, range(narrow.card.class_count))
        code = "foreign" if names_it and broad.sure is not None and not broad.sure.is_root else "outside"
        return Agreement(broad, narrow, Relation.FOREIGN, code, share=share, params=params)
    supports = [(group, kin.support(probabilities, group.classes)) for group in _path(narrow)]
    shared = next((group for group, support in supports if support >= at), None)
    if shared is None or shared.node == _root(narrow.card) or kin.covers(shared.classes):
        excludes = supports[0][1] <= 1 - at and not kin.touches(broad.group.classes, narrow.group.classes)
        relation = Relation.EXCLUDES if excludes else Relation.UNCLEAR
        return Agreement(broad, narrow, relation, relation.value, share=share, params=params)
    if shared == narrow.group:
        relation, code = _when_confirmed(broad, narrow)
    else:
        relation, code = Relation.GROUP, "group"
        params["shared"] = short_name(shared.name)
    return Agreement(broad, narrow, relation, code, shared, share, params)


def _breadth(answer: ModelAnswer) -> tuple[int, float, str]:
    return -answer.card.class_count, answer.confidence, answer.card.name


def _when_confirmed(broad: ModelAnswer, narrow: ModelAnswer) -> tuple[Relation, str]:
    """The relation of two answers of which the broad model's gives enough to the narrow one's."""
    ours, theirs = broad.group.node, narrow.group.node
    assert ours is not None and theirs is not None, "models without a tree have no kinship"
    assert broad.card.hierarchy is not None and narrow.card.hierarchy is not None
    if synset(ours) == synset(theirs):
        return Relation.SAME, "same"
    if is_kind_of(broad.card.hierarchy, ours, theirs):
        return Relation.KIND, "kind_broad"
    if is_kind_of(narrow.card.hierarchy, theirs, ours):
        return Relation.KIND, "kind_narrow"
    return Relation.COMPATIBLE, "compatible"


def _path(answer: ModelAnswer) -> list[Group]:
    """The answer's group and those above it, up to the root."""
    tree, node = answer.card.hierarchy, answer.group.node
    assert tree is not None and node is not None, "models without a tree have no kinship"
    found = [answer.group]
    while node in tree.parent_of:
        node = tree.parent_of[node]
        found.append(answer.card.node_group(node))
    return found


def _root(card: ModelCard) -> str | None:
    return card.hierarchy.root.id if card.hierarchy else None
