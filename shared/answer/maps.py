"""Maps of an answer: what each is of, where its files are, its certificate, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shared.answer.classes import ClassGroup
from shared.answer.record import Caution, Number, Record

LOGIT = "logit"
CLAIMS = ("exact", "complete", "approximate")  # what a method claims of the sum of its maps


class Certificate(Record):
    """The identity mean(map) + bias = score, checked.

    A score near 0 may be the sum of large terms that cancel. Rounding them costs many times the tolerance of the score,
    and yet every term is as exact as numbers of that precision are; `tolerance` allows for that (Higham, Accuracy and
    Stability of Numerical Algorithms, section 4.2)."""

    bias: Number
    score: Number
    residual: Number = Field(description="What the identity misses, relative to max(1, |score|).")
    tolerance: float = Field(description="Of the residual.")
    backward_error: Number | None = Field(
        default=None,
        description="What it misses, relative to the absolute values that were added up, of every channel and the "
        "bias. Null in a result of an earlier version.",
    )
    exact: bool


class Faithfulness(Record):
    """With `trust=full`: areas under the curves of deletion and insertion (arXiv 1806.07421), 0 to 1, beside those of
    random maps and of a centre blob on the same image. All null, with the reason, for a map without an order."""

    deletion: float | None = None
    insertion: float | None = None
    difference: float | None = Field(default=None, description="Insertion less deletion, -1 to 1.")
    percentile: float | None = Field(
        default=None, description="Place of the difference among the random maps', 0 to 100."
    )
    random_maps: int
    blob_difference: float | None = Field(default=None, description="The difference of the centre blob.")
    beats_blob: bool | None = None
    whole: float | None = Field(default=None, description="Probability of the target for the whole image.")
    hidden: float | None = Field(default=None, description="And where all of it is hidden.")
    reason: str | None = None
    text: str


class Stability(Record):
    """With `trust=full`: rank correlations, -1 to 1, with the maps of the image under changes that nobody would notice;
    null where a map has no order."""

    noise: float | None = None
    shift: float | None = None
    flip: float | None = None
    lowest: float | None = None
    threshold: float = Field(description="Below it a map is unstable.")
    text: str


class MapAgreement(Record):
    """With `trust=full`: rank correlation, -1 to 1, with the map of another method; null where one of the two has no
    order."""

    method: str
    correlation: float | None = None
    text: str


class MapArtifacts(Record):
    """The files of a map: its raw values (.npy), and drawings (.png) that are made when somebody asks. Each by its name
    in the stored answer, by its address in what the API returns."""

    raw: str
    heatmap: str
    overlay: str

    @classmethod
    def named(cls, name: str) -> MapArtifacts:
        """The files of the map `name`."""
        return cls(raw=f"{name}.npy", heatmap=f"{name}.heatmap.png", overlay=f"{name}.overlay.png")

    def names(self) -> tuple[str, str, str]:
        """The names of the raw map, the heat map and the overlay."""
        return self.raw, self.heatmap, self.overlay


class DrawnMap(Record):
    """What the maps of classes and of decisions have in common."""

    grid: tuple[int, ...] = Field(description="Rows and columns of the raw map.")
    artifacts: MapArtifacts
    range: tuple[Number, Number] = Field(description="The least and the greatest raw value.")

    @property
    def is_contrast(self) -> bool:
        """Whether the map sets one thing against another, so that both signs matter."""
        raise NotImplementedError

    @property
    def raw_name(self) -> str:
        """The name of the raw map among the arrays of a result."""
        return PurePosixPath(self.artifacts.raw).name.removesuffix(".npy")

    def raw(self, maps: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The raw map, h x w, among the arrays of its result."""
        return maps[self.raw_name]


class MapEntry(DrawnMap):
    """The map of a class or group by one method."""

    method: str
    claim: str = Field(json_schema_extra={"enum": list(CLAIMS)})  # a later version may have another
    target: ClassGroup
    contrast: ClassGroup | None = None
    layer: str
    unit: str = LOGIT
    entropy_term: Number | None = Field(
        default=None, description="The part of the score that has no place in the image, in nats."
    )
    exactness: Certificate | None = None
    faithfulness: Faithfulness | None = None
    stability: Stability | None = None
    agreement: MapAgreement | None = None
    warnings: tuple[Caution, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _claim_of_an_earlier_version(cls, data: Any) -> Any:
        """What claims only a certificate could prove was exact, before other methods had certificates too."""
        if isinstance(data, Mapping) and "claim" not in data:
            return {**data, "claim": "exact" if data.get("exactness") else "approximate"}
        return data

    @property
    def is_contrast(self) -> bool:
        return self.contrast is not None


class DecisionMap(DrawnMap):
    """The map of one decision: the chosen child against the sibling `against`."""

    unit: ClassVar[str] = LOGIT

    against: str
    entropy_term: Number | None = None
    exactness: Certificate

    @property
    def is_contrast(self) -> bool:
        return True


AnyMap = MapEntry | DecisionMap
