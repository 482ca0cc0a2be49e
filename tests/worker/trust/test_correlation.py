"""Rank correlation: SciPy's numbers, blind to monotone rescaling, silent on maps without an order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from worker.trust.correlation import average_ranks, spearman
from worker.trust.defect import Defect, defects

PAIRS = hnp.arrays("float64", (2, 12), elements=st.integers(-4, 4).map(float))  # many ties


@given(PAIRS)
def test_ranks_and_correlation_are_scipys(pair: NDArray[np.float64]) -> None:
    a, b = torch.from_numpy(pair)
    assert average_ranks(a[None])[0].tolist() == rankdata(a.numpy()).tolist()
    found = spearman(a[None], b[None])[0]
    if a.unique().numel() == 1 or b.unique().numel() == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(a.numpy(), b.numpy()).statistic, abs=1e-12)


@given(st.integers(0, 2**31), st.floats(0.1, 5))
def test_a_monotone_change_of_the_values_changes_nothing(seed: int, scale: float) -> None:
    first, second = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed)).double()
    plain = spearman(first, second)
    assert spearman((first * scale).exp(), second) == pytest.approx(plain)
    assert spearman(first, second**3 + 7) == pytest.approx(plain)
    assert spearman(-first, second) == pytest.approx([-value for value in plain if value is not None])
    assert spearman(second, first) == pytest.approx(plain)


def test_a_map_agrees_with_itself_and_each_pair_is_on_its_own() -> None:
    maps = torch.randn(4, 7, 7, generator=torch.Generator().manual_seed(0))
    assert spearman(maps, maps) == pytest.approx([1.0] * 4)
    alone = [spearman(maps[i : i + 1], maps.flip(0)[i : i + 1])[0] for i in range(4)]
    assert spearman(maps, maps.flip(0)) == pytest.approx(alone)


@pytest.mark.parametrize("value", [0.0, 3.0, math.nan, math.inf])
def test_a_constant_or_broken_map_has_no_correlation(value: float) -> None:
    healthy = torch.arange(9.0).view(1, 3, 3)
    assert spearman(healthy, torch.full((1, 3, 3), value)) == [None]
    assert spearman(torch.full((1, 3, 3), value), healthy) == [None]


def test_a_defect_is_named() -> None:
    assert defects(torch.zeros(7, 7)[None]) == [Defect.CONSTANT]
    assert defects(torch.full((7, 7), -2.5)[None]) == [Defect.CONSTANT]
    assert defects(torch.tensor([[4.0]])[None]) == [Defect.CONSTANT]
    assert defects(1 + 1e-8 * torch.rand(7, 7, dtype=torch.float64)[None]) == [Defect.CONSTANT]
    assert defects(torch.tensor([[1.0, math.nan]])[None]) == [Defect.NOT_FINITE]
    assert defects(torch.tensor([[1e-9, 2e-9]])[None]) == [None]
