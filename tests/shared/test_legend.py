"""The legend below a picture: as wide as can be read, its bar in the right colours, the picture untouched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from shared.drawing.legend import GROUND, LEAST_WIDTH, ColourBar, with_legend

RAMP = np.linspace((0, 0, 200), (200, 0, 0), 257).round().astype(np.uint8)
BAR = ColourBar(RAMP, [(0.0, "0"), (1.0, "12.4")])


def drawn(width: int = 480, height: int = 60, *sentences: str, bar: ColourBar | None = BAR) -> np.ndarray:
    picture = Image.new("RGB", (width, height), (10, 120, 60))
    return np.asarray(with_legend(picture, bar=bar, sentences=sentences or ("Unit: logit.",)))


@pytest.mark.parametrize("width", [1, 16, 239, 240, 480, 1024])
def test_the_picture_stands_unchanged_above_in_the_middle(width: int) -> None:
    page = drawn(width, 30)
    assert page.shape[1] == max(width, LEAST_WIDTH)
    left = (page.shape[1] - width) // 2
    assert (page[:30, left : left + width] == (10, 120, 60)).all()
    assert (page[:30, :left] == GROUND).all() and (page[:30, left + width :] == GROUND).all()
    assert (page[-3:] == GROUND).all()


def test_the_bar_runs_from_the_first_colour_to_the_last() -> None:
    row = drawn(500, 40)[40 + 9 + 7].astype(int)
    inside = row[12:-12]
    assert (np.diff(inside[:, 0]) >= 0).all() and (np.diff(inside[:, 2]) <= 0).all()
    assert np.abs(inside[len(inside) // 2] - (100, 0, 100)).max() <= 2


def test_a_tick_stands_where_its_value_is() -> None:
    for place in (0.0, 0.25, 0.5, 1.0):
        with_tick = drawn(500, 40, bar=ColourBar(RAMP, [(place, "")]))
        without = drawn(500, 40, bar=ColourBar(RAMP, []))
        columns = np.nonzero((with_tick != without).any(axis=(0, 2)))[0]
        assert columns.min() == columns.max()
        assert (columns.min() - 9) / (500 - 18 - 1) == pytest.approx(place, abs=0.003)


def test_numbers_at_the_ends_stay_in_the_picture() -> None:
    page = drawn(240, 20, bar=ColourBar(RAMP, [(0.0, "−1.23e+38"), (0.5, "0"), (1.0, "1.23e+38")]))
    assert (page[20:, :6] == GROUND).all() and (page[20:, -6:] == GROUND).all()


def test_long_sentences_are_broken_into_lines() -> None:
    sentence = "values beyond it, from one number to another, are drawn as its ends and nothing is hidden from you"
    short, long = drawn(240, 20, "short"), drawn(240, 20, sentence)
    assert long.shape[0] > short.shape[0]
    assert (long[:, -6:][20:] == GROUND).all()


def test_threads_draw_the_same_as_one_after_the_other() -> None:
    alone = [drawn(300 + n, 40, f"sentence {n}") for n in range(12)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: drawn(300 + n, 40, f"sentence {n}"), range(12)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
