"""Rank correlation (Spearman) of many pairs of maps at once: 1 the same order of cells, 0 no relation, -1 reversed."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.trust.defect import defects


def average_ranks(values: Tensor) -> Tensor:
    """Ranks 1..n along the last dimension of N x n values, in double precision. Equal values share their mean rank."""
    ordered = values.sort(dim=-1).values.contiguous()
    below = torch.searchsorted(ordered, values.contiguous())
    not_above = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + not_above + 1).double() / 2


def spearman(first: Tensor, second: Tensor) -> list[float | None]:
    """Rank correlation of each of N pairs of maps, N x ... each: -1..1. None where a map is constant or not finite."""
    a, b = (_standardised(average_ranks(maps.flatten(1))) for maps in (first, second))
    values = (a * b).sum(1).clamp(-1, 1).tolist()
    flaws = zip(defects(first), defects(second), strict=True)
    return [None if any(pair) else value for value, pair in zip(values, flaws, strict=True)]


def _standardised(ranks: Tensor) -> Tensor:
    centred = ranks - ranks.mean(1, keepdim=True)
    length = centred.square().sum(1, keepdim=True).sqrt()
    return centred / length.clamp(min=1e-300)
