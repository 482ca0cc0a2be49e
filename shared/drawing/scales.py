"""The scale of a drawn map: which value gets which colour, the numbers on its colour bar, and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shared.drawing.phrases import number

FloatMap = NDArray[np.float32]

MANY = 1000  # cells; of fewer, each is a place that a reader looks at, and none is an outlier
OUTLIERS = 0.02  # the share of the cells that may stick out
FAR = 3.0  # times as strong as all others, and these are hard to see


@dataclass(frozen=True)
class Scale:
    """From 0 to `top` in the map's own unit; from -`top` to `top` where the map contrasts two things.

    `top` is 0 for a map that has nothing to show: no positive value, or no difference at all. `low` and `high` are the
    range of the map itself. `given` says that somebody chose `top`, so that several pictures share one scale, and
    `without_outliers` that few cells far beyond `top` had no say in it.
    """

    top: float
    low: float
    high: float
    contrast: bool = False
    given: bool = False
    without_outliers: bool = False

    @classmethod
    def of(cls, raw: FloatMap, *, contrast: bool = False, top: float | None = None) -> Scale:
        """The scale of a map of h x w cells: its own maximum, unless `top` (above 0) is given."""
        values = finite(raw)
        low, high = float(values.min()), float(values.max())
        own = max(-low, high) if contrast else max(0.0, high)
        return cls(own if top is None else top, low, high, contrast, given=top is not None)

    @classmethod
    def drawn(cls, raw: FloatMap, *, contrast: bool = False, top: float | None = None) -> Scale:
        """The scale on which a map of h x w cells is drawn: as `of`, but where a few of many cells stick out so far
        that nothing else could be seen beside them, the strongest of the others is its top."""
        scale = cls.of(raw, contrast=contrast, top=top)
        if scale.given or raw.size < MANY:
            return scale
        strengths = np.abs(finite(raw)) if contrast else finite(raw).clip(min=0)
        others = float(np.quantile(strengths, 1 - OUTLIERS, method="lower"))
        return replace(scale, top=others, without_outliers=True) if 0 < FAR * others < scale.top else scale

    def shares(self, raw: FloatMap) -> FloatMap:
        """Every cell as a share of the scale, in [0, 1]; 0 is drawn as 0, or as exactly 0.5 in a contrast."""
        if self.top == 0:
            return np.full(raw.shape, 0.5 if self.contrast else 0.0, np.float32)
        bottom = -self.top if self.contrast else 0.0
        share = finite(raw).clip(bottom, self.top) / self.top  # clipped first: the quotient cannot overflow
        return ((share + 1) / 2 if self.contrast else share).astype(np.float32)

    @property
    def ticks(self) -> tuple[tuple[float, float], ...]:
        """Places on the bar, in [0, 1], and the value that stands at each."""
        if not self.contrast:
            return ((0.0, 0.0), (1.0, self.top))[: 2 if self.top else 1]
        return ((0.0, -self.top), (0.5, 0.0), (1.0, self.top)) if self.top else ((0.5, 0.0),)

    @property
    def note(self) -> str:
        """What a reader must know of the scale, in one sentence without its full stop."""
        return self._contrast_note() if self.contrast else self._positive_note()

    def _positive_note(self) -> str:
        parts = [self._origin("no positive evidence", "scaled to this map\N{RIGHT SINGLE QUOTATION MARK}s maximum")]
        if self.high > self.top:
            parts.append(f"values above it, up to {number(self.high)}, are drawn as {number(self.top)}")
        if self.low < 0:
            parts.append(f"negative evidence, down to {number(self.low)}, is not shown")
        return "; ".join(parts)

    def _contrast_note(self) -> str:
        own = "scaled to this map\N{RIGHT SINGLE QUOTATION MARK}s largest value for or against"
        parts = [self._origin("no difference anywhere", own)]
        if max(-self.low, self.high) > self.top:
            parts.append(f"values beyond it, from {number(self.low)} to {number(self.high)}, are drawn as its ends")
        return "; ".join([*parts, "red speaks for, blue against"] if self.top else parts)

    def _origin(self, nothing: str, own: str) -> str:
        if self.given:
            return f"scale set to {number(self.top)}"
        if self.without_outliers:
            return f"scaled to this map\N{RIGHT SINGLE QUOTATION MARK}s values without the strongest {OUTLIERS:.0%}"
        return own if self.top else nothing


def finite(raw: FloatMap) -> NDArray[np.float64]:
    """The map in double precision; cells that are not finite numbers hold no evidence."""
    return np.nan_to_num(raw.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
