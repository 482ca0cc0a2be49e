"""A defect of a map: what makes it point at nothing, so that no order of its cells means anything."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

FLAT = 1e-6  # a range of at most this share of the largest absolute value is rounding, not evidence


class Defect(StrEnum):
    NOT_FINITE = "map_not_finite"
    CONSTANT = "map_constant"


SENTENCES = {
    Defect.NOT_FINITE: "The map holds values that are not numbers; do not read it.",
    Defect.CONSTANT: "The map is the same everywhere, so it points at no part of the picture.",
}


def defect(raw: Tensor) -> Defect | None:
    """The defect of a map of any shape, None where it has none. A single cell is the same everywhere."""
    if not torch.isfinite(raw).all():
        return Defect.NOT_FINITE
    values = raw.double()
    if float(values.max() - values.min()) <= FLAT * float(values.abs().max()):
        return Defect.CONSTANT
    return None
