"""Maps of many pictures taken together: how much evidence lies outside a box, and the mean map of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.report.outcome import Box, Outcome


def share_outside(raw: NDArray[np.float32], box: Box, *, seen: Sequence[int]) -> float | None:
    """The share of a map's positive evidence outside `box`, 0 to 1; None where nothing is positive.

    Box and `seen`, the part of the picture that the map covers, are x0 y0 x1 y1 in the picture's pixels. A cell that
    the box cuts counts by its area.
    """
    positive = np.clip(raw.astype(np.float64), 0, None)
    if not positive.any():
        return None
    rows, columns = raw.shape
    inside = np.outer(
        _covered(seen[1], seen[3], rows, box[1], box[3]), _covered(seen[0], seen[2], columns, box[0], box[2])
    )
    return float(1 - (positive * inside).sum() / positive.sum())


def _covered(start: float, end: float, cells: int, low: float, high: float) -> NDArray[np.float64]:
    """The share of each of `cells` equal parts of [start, end] that [low, high] covers."""
    edges = np.linspace(start, end, cells + 1)
    overlap = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    covered: NDArray[np.float64] = np.clip(overlap, 0, None) / np.diff(edges)
    return covered


@dataclass
class ClassMaps:
    """Sums of the first map of each model's answers, by model and predicted class. Maps on other grids than the first
    of their class are left out."""

    sums: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Add the maps of a picture."""
        for explanation in outcome.explanations:
            raw = explanation.maps[0].raw(outcome.maps)
            if raw.ndim == 2:
                self._add((explanation.model, explanation.prediction.name), raw, 1)

    def merge(self, other: ClassMaps) -> None:
        """Add all maps of another sum."""
        for name, total in other.sums.items():
            self._add(name, total, other.counts[name])

    def mean(self, name: tuple[str, str]) -> NDArray[np.float64]:
        """The mean map of a model's class, by (model, class)."""
        mean: NDArray[np.float64] = self.sums[name] / self.counts[name]
        return mean

    def to_list(self) -> list[dict[str, Any]]:
        """The sums with JSON's types, rounded to 5 decimals."""
        return [
            {"model": model, "class": of, "count": self.counts[model, of], "sum": np.round(total, 5).tolist()}
            for (model, of), total in self.sums.items()
        ]

    @classmethod
    def from_list(cls, data: Sequence[dict[str, Any]]) -> ClassMaps:
        """Reads what `to_list` writes."""
        found = cls()
        for one in data:
            found._add((one["model"], one["class"]), np.asarray(one["sum"]), one["count"])
        return found

    def _add(self, name: tuple[str, str], total: NDArray[Any], count: int) -> None:
        if name in self.sums and self.sums[name].shape != total.shape:
            return
        self.sums[name] = self.sums[name] + total if name in self.sums else total.astype(np.float64)
        self.counts[name] = self.counts.get(name, 0) + count
