"""One model's answer for one image: its prediction, sure answer, verdict, maps and decision path."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from shared.answer.classes import SHORT_NAME, RankedClass
from shared.answer.maps import AnyMap, MapEntry
from shared.answer.path import DecisionPath
from shared.answer.record import Number, Params, Record
from shared.cards.verdicts import Level


class Prediction(RankedClass):
    """The likeliest class, with the best classes in order."""

    confidence: Number | None = Field(default=None, description="Calibrated; null for a model that was not calibrated.")
    top: tuple[RankedClass, ...] = ()


class SureAnswer(Record):
    """The deepest node of the tree that still holds a probability of `at`."""

    node: str
    name: str
    short_name: str | None = Field(default=None, description=SHORT_NAME)
    probability: Number
    index: int | None = Field(default=None, description="Of the class, where it is a single one.")
    class_count: int = Field(description="Classes below the node.")
    is_root: bool = Field(description="Whether it is the root: the model vouches for nothing.")
    at: float


class Verdict(Record):
    """What to make of the answer. The first reason is the one that the text says."""

    level: str = Field(json_schema_extra={"enum": list(Level)})  # a later version may have another
    reasons: tuple[str, ...]
    params: Params
    text: str


class InputView(Record):
    """What the network was given: a square of the image, scaled to `size` pixels a side."""

    box: tuple[int, int, int, int] = Field(description="x0 y0 x1 y1 in pixels of the image.")
    size: int | None = None


class ExplanationArtifacts(Record):
    logits: str | None = Field(default=None, description="All the model's logits, as .npy.")


class Explanation(Record):
    """One model's answer."""

    model: str
    artifacts: ExplanationArtifacts = ExplanationArtifacts()
    prediction: Prediction
    sure: SureAnswer | None = Field(default=None, description="Null for a model without a tree.")
    maps: tuple[MapEntry, ...] = ()
    decision_path: DecisionPath | None = None
    input: InputView
    verdict: Verdict | None = Field(default=None, description="Null in a result of an earlier version.")

    def all_maps(self) -> Iterator[tuple[str, AnyMap]]:
        """Every map with a name for its files: the method, or the number of its step from 1."""
        for entry in self.maps:
            yield entry.method, entry
        for number, step in enumerate(self.decision_path.steps if self.decision_path else (), 1):
            if step.map is not None:
                yield f"step-{number}", step.map
