"""What is said of a method's maps: their range, their certificate, and what to know before believing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.answer.maps import Certificate
from shared.answer.record import Caution
from worker.algebra import maps
from worker.methods import integrated_gradients
from worker.methods.attribution import Attribution, Guarantee
from worker.trust.warnings import map_warnings

_TOLERANCE = {Guarantee.COMPLETE: integrated_gradients.TOLERANCE}  # an exact map has the tolerance of its precision


@dataclass(frozen=True)
class Evidence:
    """One image's map by one method."""

    raw: Tensor  # h x w
    values: NDArray[np.float32]  # the same
    guarantee: Guarantee
    unit: str
    range: tuple[float, float]
    certificate: Certificate | None  # None for a method that does not claim to add up to the score
    warnings: list[Caution]


def evidence(attribution: Attribution, scores: Sequence[float]) -> list[Evidence]:
    """What is said of the maps of a batch that explain these scores."""
    raws = attribution.maps
    cells = raws.double().flatten(1)
    ranges = zip(cells.amin(1).tolist(), cells.amax(1).tolist(), strict=True)
    said = zip(ranges, _certificates(attribution, cells, scores), map_warnings(raws), strict=True)
    return [
        Evidence(raw, values, attribution.guarantee, attribution.unit, *one)
        for raw, values, one in zip(raws, raws.cpu().numpy(), said, strict=True)
    ]


def _certificates(attribution: Attribution, cells: Tensor, scores: Sequence[float]) -> list[Certificate | None]:
    if attribution.constants is None:
        return [None] * len(scores)
    tolerance = _TOLERANCE.get(attribution.guarantee, maps.TOLERANCE[attribution.maps.dtype])
    terms = cells.abs().mean(1) if attribution.terms is None else attribution.terms
    figures = (cells.mean(1), terms, attribution.constants)
    return [
        maps.certify(mean, terms=added, constant=constant, score=score, tolerance=tolerance)
        for mean, added, constant, score in zip(*(one.tolist() for one in figures), scores, strict=True)
    ]
