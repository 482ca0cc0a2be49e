"""Agreement of two maps of the same picture, of different methods and grids."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from shared.answer.maps import MapAgreement
from worker.trust.correlation import spearman


def agreement(raw: Tensor, other: Tensor, *, method: str) -> MapAgreement:
    """Compare an h x w map with another h' x w' map, that of `method`, on the coarser grid: both are average pooled to
    min(h, h') x min(w, w') cells."""
    grid = (min(raw.shape[0], other.shape[0]), min(raw.shape[1], other.shape[1]))
    pooled = [functional.adaptive_avg_pool2d(one[None].double(), grid) for one in (raw, other)]
    correlation = spearman(*pooled)[0]
    return MapAgreement(method=method, correlation=correlation, text=_text(method, correlation))


def _text(method: str, correlation: float | None) -> str:
    if correlation is None:
        return f"This map and that of {method} cannot be compared: one of them points at nothing."
    return (
        f"Another method, {method}, orders the parts of the picture with a rank correlation of "
        f"{correlation:.2f} to this map (1: the same order, 0: unrelated, -1: the reverse)."
    )
