"""A defect of a map: what makes it point at nothing, so that no order of its cells means anything."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor

FLAT = 1e-6  # a range of at most this share of the largest absolute value is rounding, not evidence


class Defect(StrEnum):
    NOT_FINITE = "map_not_finite"
    CONSTANT = "map_constant"


SENTENCES = {
    Defect.NOT_FINITE: "The map holds values that are not numbers; do not read it.",
    Defect.CONSTANT: "The map is the same everywhere, so it points at no part of the picture.",
}


def defects(maps: Tensor) -> list[Defect | None]:
    """The defect of each of N maps of any shape, None where it has none. A single cell is the same everywhere."""
    values = maps.flatten(1).double()
    flat = values.amax(1) - values.amin(1) <= FLAT * values.abs().amax(1)
    return [
        Defect.NOT_FINITE if not finite else Defect.CONSTANT if constant else None
        for finite, constant in zip(values.isfinite().all(1).tolist(), flat.tolist(), strict=True)
    ]
