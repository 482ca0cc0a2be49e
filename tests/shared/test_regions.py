"""Boxes around the strongest evidence: they hold the planted peak, in the right place, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.drawing.regions import enlarge, region
from shared.drawing.scales import FloatMap
from shared.images.decode import Box

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def two_peaks() -> FloatMap:
    """A weaker one in the upper right, the stronger in the lower left."""
    raw = np.full((10, 10), -1.0, np.float32)
    raw[1:3, 6:9] = 4.0
    raw[7:9, 1:3] = 5.0
    return raw


def test_the_box_encloses_the_strongest_region_and_nothing_else() -> None:
    found = region(two_peaks(), (0, 0, 200, 200), threshold=0.5)
    assert found is not None
    assert found == pytest.approx((20, 140, 60, 180), abs=11)


def test_the_box_lies_where_the_network_looked() -> None:
    at_origin = region(two_peaks(), (0, 0, 200, 200), threshold=0.5)
    moved = region(two_peaks(), (300, 40, 500, 240), threshold=0.5)
    assert at_origin is not None
    assert moved == (at_origin[0] + 300, at_origin[1] + 40, at_origin[2] + 300, at_origin[3] + 40)


def test_a_lower_threshold_gives_a_box_that_holds_the_higher_ones() -> None:
    raw = np.outer(*[np.exp(-(((np.arange(12) - at) / 3.0) ** 2)) for at in (4, 7)]).astype(np.float32)
    boxes = [region(raw, (0, 0, 240, 120), threshold=share) for share in (0.9, 0.6, 0.3, 0.1)]
    for inner, outer in zip(boxes, boxes[1:], strict=False):
        assert inner is not None and outer is not None
        assert outer[0] < inner[0] and outer[1] < inner[1] and outer[2] > inner[2] and outer[3] > inner[3]


def test_regions_that_touch_only_at_a_corner_are_two() -> None:
    raw = np.array([[0, 2], [1, 0]], np.float32).repeat(32, axis=0).repeat(32, axis=1)
    assert region(raw, (0, 0, 64, 64), threshold=0.5) == (32, 0, 64, 32)


@pytest.mark.parametrize("raw", [np.zeros((3, 3)), np.full((2, 5), -4.0), np.full((1, 1), np.nan)])
def test_a_map_without_positive_evidence_has_no_box(raw: FloatMap) -> None:
    assert region(raw.astype(np.float32), (0, 0, 60, 40), threshold=0.5) is None


def test_a_constant_map_has_the_whole_picture_as_its_box() -> None:
    assert region(np.full((7, 7), 1e-45, np.float32), (3, 4, 63, 44), threshold=1.0) == (3, 4, 63, 44)


@settings(max_examples=40, deadline=None)
@given(SHAPES, SHAPES, st.floats(0, 1, exclude_min=True), st.integers(0, 2**32 - 1))
def test_a_box_lies_in_the_picture_and_holds_the_strongest_pixel(
    grid: tuple[int, int], size: tuple[int, int], threshold: float, seed: int
) -> None:
    raw = np.random.default_rng(seed).exponential(size=grid).astype(np.float32)
    found: Box | None = region(raw, (5, 6, 5 + size[0], 6 + size[1]), threshold=threshold)
    assert found is not None
    x0, y0, x1, y1 = found
    assert 5 <= x0 < x1 <= 5 + size[0] and 6 <= y0 < y1 <= 6 + size[1]
    y, x = np.unravel_index(enlarge(raw / raw.max(), size).argmax(), size[::-1])
    assert x0 <= 5 + x < x1 and y0 <= 6 + y < y1
