"""The calibration of a model: how far its answers can be trusted, measured on held-out pictures, as its card states it.

`training/calibration.py` measures it. Half of the held-out pictures choose the temperature and the thresholds; what
they achieve is measured on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Detection:
    """How well the familiarity score tells foreign pictures from the held-out ones."""

    auroc: float  # probability that a held-out picture scores higher than a foreign one
    detected: float  # share of the foreign pictures below the threshold


@dataclass(frozen=True)
class FamiliarityLimit:
    """Below `threshold` a picture counts as unlike the training classes. `detection` is by name of the foreign data."""

    kind: str  # "energy" or "max-logit", whichever separated better
    threshold: float
    false_alarm: float  # share of the fitting half below the threshold, as chosen
    false_alarm_measured: float  # share of the measuring half below it
    detection: Mapping[str, Detection]
    detection_of_other_kind: Mapping[str, Detection]


@dataclass(frozen=True)
class TreeCalibration:
    """The tree's own probabilities.

    `temperatures` divide the scores of a decision's children, by node id; they are None in marginal mode, where the
    network's temperature, which divides the logits, calibrates the nodes too. `weak_below` gives for each mode the raw
    probability of a decision below which fewer than `weak_accuracy` of the decisions on held-out paths are right.
    """

    mode: str  # in which nodes and temperatures were measured: the one that `tree=auto` takes
    temperatures: Mapping[str, float] | None
    nodes: int
    nodes_within_bound: int  # whose calibration error is below their bound; 95 of 100 would be if all were calibrated
    nodes_within_bound_raw: int  # the same before the temperatures
    weak_accuracy: float
    weak_below: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """The block `reliability` of a model card. Errors, shares and confidences are fractions, 0..1."""

    data: str
    seed: int  # of the split
    fitted_on: int  # pictures
    measured_on: int
    temperature: float  # divides the logits; the calibrated confidence is the softmax of what results
    ece_raw: float  # expected calibration error in 15 bins
    ece_calibrated: float
    ece_bound: float  # 95th percentile of the error of a perfectly calibrated model on as many pictures
    confidence_threshold: float  # calibrated confidence below which answers are more often wrong than right
    share_below: float  # of the measuring half
    accuracy_below: float | None  # None where no picture was below
    familiarity: FamiliarityLimit
    tree: TreeCalibration | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Raises KeyError or TypeError where something is missing or unknown."""
        limit, tree = data["familiarity"], data.get("tree")
        detections = {
            key: {name: Detection(**figures) for name, figures in limit[key].items()}
            for key in ("detection", "detection_of_other_kind")
        }
        return cls(
            **{
                **data,
                "familiarity": FamiliarityLimit(**{**limit, **detections}),
                "tree": None if tree is None else TreeCalibration(**tree),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """The block as a card has it."""
        return asdict(self)
