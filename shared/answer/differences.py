"""What a what-if changed: each model's answer beside its answer in the parent's result."""

from __future__ import annotations

from pydantic import Field

from shared.answer.classes import ClassName, ClassProbability, NodeProbability
from shared.answer.record import Record


class PredictionDifference(Record):
    changed: bool
    before: ClassProbability
    after: ClassProbability


class ClassDifference(ClassName):
    """A class among the best five of either answer; null where an earlier version did not store its probability."""

    before: float | None = None
    after: float | None = None


class MapDifference(Record):
    method: str
    same_target: bool = Field(description="Whether both maps are of the same class and contrast.")
    correlation: float | None = Field(
        default=None, description="Rank correlation, -1 to 1; null where a map is constant."
    )
    shift: tuple[float, float] | None = Field(
        default=None,
        description="How far the centre of the positive evidence moved, right and down, in pixels of the image.",
    )


class PathDifference(Record):
    changed: bool
    step: int | None = Field(default=None, description="The first step that differs, from 0; null where none does.")
    before: NodeProbability | None = None
    after: NodeProbability | None = None


class ModelDifference(Record):
    model: str
    prediction: PredictionDifference
    top: tuple[ClassDifference, ...]
    maps: tuple[MapDifference, ...]
    decision_path: PathDifference | None = None


class Differences(Record):
    """From the result of the job `parent` to this one, for every model that answered both."""

    parent: str
    models: tuple[ModelDifference, ...]
