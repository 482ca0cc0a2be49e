"""The scale of a map: zero is neutral, equal values are equal shares, and its numbers are the map's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.drawing.scales import FloatMap, Scale, finite

CELLS = st.floats(width=32)  # every one there is: huge, tiny, infinite, not a number
MAPS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=CELLS)
TOPS = st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False)


def row(*values: float) -> FloatMap:
    return np.array([values], np.float32)


@settings(max_examples=40, deadline=None)
@given(MAPS, st.booleans(), TOPS)
def test_shares_are_finite_and_within_the_scale_for_any_map(raw: FloatMap, contrast: bool, top: float | None) -> None:
    shares = Scale.of(raw, contrast=contrast, top=top).shares(raw)
    assert shares.shape == raw.shape and shares.dtype == np.float32
    assert np.isfinite(shares).all()
    assert shares.min() >= 0 and shares.max() <= 1


@settings(max_examples=40, deadline=None)
@given(MAPS, st.booleans(), TOPS)
def test_zero_and_what_is_not_a_number_are_the_scales_zero(raw: FloatMap, contrast: bool, top: float | None) -> None:
    shares = Scale.of(raw, contrast=contrast, top=top).shares(raw)
    nothing = (raw == 0) | ~np.isfinite(raw)
    assert (shares[nothing] == (0.5 if contrast else 0)).all()


@settings(max_examples=40, deadline=None)
@given(MAPS, st.booleans(), TOPS)
def test_more_is_never_less(raw: FloatMap, contrast: bool, top: float | None) -> None:
    shares = Scale.of(raw, contrast=contrast, top=top).shares(raw)
    order = finite(raw).ravel().argsort()
    assert (np.diff(shares.ravel()[order]) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(MAPS, TOPS)
def test_a_contrast_turned_round_is_drawn_turned_round(raw: FloatMap, top: float | None) -> None:
    there, back = (Scale.of(m, contrast=True, top=top).shares(m) for m in (raw, -raw))
    assert np.allclose(there + back, 1, atol=1e-6)


def test_on_a_shared_scale_equal_values_are_equal_shares() -> None:
    for contrast in (False, True):
        weak, strong = row(0, 1, 2), row(1, 2, 8)
        first, second = (Scale.of(m, contrast=contrast, top=10.0).shares(m) for m in (weak, strong))
        assert (first[0, 1:] == second[0, :2]).all()
        own = [Scale.of(m, contrast=contrast).shares(m) for m in (weak, strong)]
        assert (own[0][0, 1:] != own[1][0, :2]).all()


@pytest.mark.parametrize(
    ("values", "contrast", "top", "ticks"),
    [
        ((-3.0, 12.5), False, None, [(0, 0), (1, 12.5)]),
        ((-3.0, 12.5), False, 20.0, [(0, 0), (1, 20.0)]),
        ((-3.0, -1.0), False, None, [(0, 0)]),
        ((-3.0, -1.0), False, 2.0, [(0, 0), (1, 2.0)]),
        ((-3.0, 12.5), True, None, [(0, -12.5), (0.5, 0), (1, 12.5)]),
        ((-30.0, 12.5), True, None, [(0, -30.0), (0.5, 0), (1, 30.0)]),
        ((-30.0, 12.5), True, 4.0, [(0, -4.0), (0.5, 0), (1, 4.0)]),
        ((0.0, 0.0), True, None, [(0.5, 0)]),
    ],
)
def test_the_ticks_are_in_the_maps_own_unit(
    values: tuple[float, float], contrast: bool, top: float | None, ticks: list[tuple[float, float]]
) -> None:
    assert list(Scale.of(row(*values), contrast=contrast, top=top).ticks) == ticks


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("top", [None, 1e-30, 2.0, 3e30])
def test_the_value_of_a_tick_has_the_share_where_it_stands(contrast: bool, top: float | None) -> None:
    scale = Scale.of(row(-3, 12.5), contrast=contrast, top=top)
    for place, value in scale.ticks:
        assert scale.shares(row(value))[0, 0] == pytest.approx(place, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "contrast", "top", "note"),
    [
        ((0.0, 12.5), False, None, "scaled to this map’s maximum"),
        ((-3.0, 12.5), False, None, "scaled to this map’s maximum; negative evidence, down to −3.00, is not shown"),
        ((-3.0, -1.0), False, None, "no positive evidence; negative evidence, down to −3.00, is not shown"),
        ((0.0, 0.0), False, None, "no positive evidence"),
        ((0.0, 12.5), False, 20.0, "scale set to 20.0"),
        ((0.0, 12.5), False, 12.5, "scale set to 12.5"),
        ((0.0, 12.5), False, 10.0, "scale set to 10.0; values above it, up to 12.5, are drawn as 10.0"),
        ((-3.0, 2.0), True, None, "scaled to this map’s largest value for or against; red speaks for, blue against"),
        ((-3.0, 2.0), True, 5.0, "scale set to 5.00; red speaks for, blue against"),
        (
            (-3.0, 2.0),
            True,
            1.0,
            "scale set to 1.00; values beyond it, from −3.00 to 2.00, are drawn as its ends; "
            "red speaks for, blue against",
        ),
        ((0.0, 0.0), True, None, "no difference anywhere"),
    ],
)
def test_the_note_says_whose_scale_it_is_and_what_is_left_out(
    values: tuple[float, float], contrast: bool, top: float | None, note: str
) -> None:
    assert Scale.of(row(*values), contrast=contrast, top=top).note == note


def speckled(count: int, strongest: float) -> FloatMap:
    """A map of 40 x 40 cells from 0 to 1, of which `count` are as strong as that."""
    raw = np.linspace(0, 1, 1600, dtype=np.float32)
    raw[:count] = strongest
    return raw.reshape(40, 40)


def test_a_few_cells_that_stick_out_do_not_hide_the_others() -> None:
    raw = speckled(10, strongest=40)
    scale = Scale.drawn(raw)
    assert 0.97 < scale.top <= 1 and (scale.low, scale.high) == (raw.min(), 40)
    assert scale.shares(raw).max() == 1 and np.median(scale.shares(raw)) == pytest.approx(0.5, abs=0.05)
    assert scale.note == (
        "scaled to this map’s values without the strongest 2%; "
        f"values above it, up to 40.0, are drawn as {scale.top:.3f}"
    )
    across = Scale.drawn(-raw, contrast=True)
    assert across.top == scale.top
    assert across.note.startswith("scaled to this map’s values without the strongest 2%; values beyond it, from −40.0")


@pytest.mark.parametrize(
    ("raw", "top"),
    [
        (speckled(10, strongest=2.9), None),  # not so far out
        (speckled(40, strongest=40), None),  # not so few
        (speckled(10, strongest=40)[:20, :40], None),  # not so many cells
        (speckled(10, strongest=40), 40.0),  # asked for
        (np.where(speckled(10, strongest=40) == 40, np.float32(40), np.float32(0)), None),  # nothing beside them
    ],
)
def test_else_a_map_is_drawn_on_its_whole_scale(raw: FloatMap, top: float | None) -> None:
    assert Scale.drawn(raw, top=top) == Scale.of(raw, top=top)
