"""Agreement of two maps of the same picture, of different methods and grids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from worker.trust.correlation import spearman


@dataclass(frozen=True)
class Agreement:
    """Rank correlation with the map of another method, -1..1; None where one of the two is constant or not finite."""

    method: str
    correlation: float | None

    @property
    def text(self) -> str:
        if self.correlation is None:
            return f"This map and that of {self.method} cannot be compared: one of them points at nothing."
        return (
            f"Another method, {self.method}, orders the parts of the picture with a rank correlation of "
            f"{self.correlation:.2f} to this map (1: the same order, 0: unrelated, -1: the reverse)."
        )

    def to_dict(self) -> dict[str, Any]:
        return {"method": self.method, "correlation": self.correlation, "text": self.text}


def agreement(raw: Tensor, other: Tensor, *, method: str) -> Agreement:
    """Compare an h x w map with another h' x w' map, that of `method`, on the coarser grid: both are average pooled to
    min(h, h') x min(w, w') cells."""
    grid = (min(raw.shape[0], other.shape[0]), min(raw.shape[1], other.shape[1]))
    pooled = [functional.adaptive_avg_pool2d(one[None].double(), grid) for one in (raw, other)]
    return Agreement(method, spearman(*pooled)[0])
