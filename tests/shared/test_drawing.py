"""Pictures of maps: hot looks hot, in the right place, on a scale that is stated."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.drawing import COLORMAPS, DIVERGING, FloatMap, Style, heatmap, overlay, png_bytes
from shared.errors import InvalidOption

Array = NDArray[Any]
STYLES = [Style(colormap=name) for name in COLORMAPS]
GREY = Image.new("RGB", (60, 40), (128, 128, 128))
WHOLE = (0, 0, 60, 40)


def pixels(picture: Image.Image) -> Array:
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def colour(value: float, name: str) -> Array:
    """The colour of a value in [0, 1], as the colour map has it."""
    rgb: Array = np.round(np.array(matplotlib.colormaps[name](value)[:3]) * 255).astype(int)
    return rgb


def planted(shape: tuple[int, int], cell: tuple[int, int], value: float = 5.0) -> FloatMap:
    raw = np.zeros(shape, np.float32)
    raw[cell] = value
    return raw


def change(picture: Image.Image, drawn: Image.Image) -> Array:
    """How far each pixel of an overlay is from the picture below."""
    distance: Array = np.abs(pixels(drawn) - pixels(picture)).sum(axis=2)
    return distance


def centre_of(weight: Array) -> tuple[float, float]:
    """Centre of mass as shares of width and height."""
    ys, xs = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]]
    total = weight.sum()
    return (
        float((xs * weight).sum() / total / weight.shape[1]),
        float((ys * weight).sum() / total / weight.shape[0]),
    )


@pytest.fixture(scope="module")
def chelsea(photos: dict[str, Image.Image]) -> Image.Image:
    return photos["chelsea"].convert("RGB")


# -- heat maps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_hot_looks_hot_and_nothing_looks_cold(style: Style) -> None:
    drawn = pixels(heatmap(planted((7, 7), (2, 5)), style=style, side=77))
    assert drawn.shape == (77, 77, 3)
    assert (drawn[27, 60] == colour(1.0, style.colormap)).all()
    assert (drawn[71, 5] == colour(0.0, style.colormap)).all()


@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_more_evidence_is_never_drawn_as_less(style: Style) -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 64)
    row = pixels(heatmap(ramp, style=style, side=512))[256]
    table = np.array([colour(i, style.colormap) for i in range(256)])
    places = [int(np.abs(table - pixel).sum(axis=1).argmin()) for pixel in row]
    assert places == sorted(places)
    assert places[0] == 0 and places[-1] == 255


@pytest.mark.parametrize("cell", [(0, 0), (0, 4), (2, 0), (1, 3)])
def test_a_planted_cell_lies_where_it_was_planted_in_the_heat_map(cell: tuple[int, int]) -> None:
    drawn = pixels(heatmap(planted((3, 5), cell), style=Style("viridis"), side=150))
    heat = drawn[..., 0].astype(float) * (drawn.sum(axis=2) > colour(0.5, "viridis").sum())
    x, y = centre_of(heat)
    assert x == pytest.approx((cell[1] + 0.5) / 5, abs=0.06)
    assert y == pytest.approx((cell[0] + 0.5) / 3, abs=0.06)


@pytest.mark.parametrize("raw", [np.zeros((3, 3)), np.full((3, 3), -2.0), np.linspace(-9, 0, 9).reshape(3, 3)])
@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_a_map_without_a_positive_cell_is_flat(raw: Array, style: Style, chelsea: Image.Image) -> None:
    raw = raw.astype(np.float32)
    assert (pixels(heatmap(raw, style=style, side=32)) == colour(0.0, style.colormap)).all()
    box = (0, 0, *chelsea.size)
    assert np.array_equal(pixels(overlay(chelsea, raw, box, style=style)), pixels(chelsea))


def test_negative_evidence_is_clipped_to_nothing() -> None:
    raw = np.array([[-50.0, 0.0, 2.0, 4.0]], np.float32)
    clipped = np.array([[0.0, 0.0, 2.0, 4.0]], np.float32)
    assert heatmap(raw, style=Style()) == heatmap(clipped, style=Style())


@pytest.mark.parametrize("contrast", [False, True])
def test_the_scale_is_the_maps_own(contrast: bool) -> None:
    raw = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    assert heatmap(raw, style=Style(), contrast=contrast) == heatmap(raw * 1024, style=Style(), contrast=contrast)


def test_the_map_that_is_drawn_is_left_as_it_was() -> None:
    raw = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    before = raw.copy()
    raw.setflags(write=False)
    for contrast in (False, True):
        heatmap(raw, style=Style(), contrast=contrast)
        overlay(GREY, raw, WHOLE, style=Style(), contrast=contrast)
    assert np.array_equal(raw, before)


def test_a_heat_map_is_as_wide_as_its_style_says() -> None:
    raw = planted((7, 7), (3, 3))
    assert heatmap(raw, style=Style()).size == (448, 448)
    assert heatmap(raw, style=Style(), side=96).size == (96, 96)
    assert heatmap(raw, style=Style(width=200), side=96).size == (200, 200)


# -- contrasts ---------------------------------------------------------------------------------------------------------


def test_in_a_contrast_zero_is_neutral_and_the_two_sides_are_as_strong() -> None:
    raw = np.array([[-4.0, -2.0, 0.0, 2.0, 4.0]], np.float32)
    row = pixels(heatmap(raw, style=Style(), contrast=True, side=500))[250]
    against, half_against, zero, half_for, strongly_for = row[50], row[150], row[250], row[350], row[450]
    assert np.ptp(zero) <= 4 and zero.min() > 240
    assert (strongly_for == colour(1.0, DIVERGING)).all() and strongly_for[0] > strongly_for[2] + 50
    assert (against == colour(0.0, DIVERGING)).all() and against[2] > against[0] + 50
    for strong, weak in ((strongly_for, half_for), (against, half_against)):
        assert weak.min() > strong.min(), "half as much is paler"


def test_a_contrasts_scale_is_symmetric_however_one_sided_its_values_are() -> None:
    raw = np.array([[0.0, 4.0]], np.float32)
    row = pixels(heatmap(raw, style=Style(), contrast=True, side=100))[50]
    assert np.ptp(row[10]) <= 4
    raw = np.array([[-1.0, 4.0]], np.float32)
    row = pixels(heatmap(raw, style=Style(), contrast=True, side=100))[50]
    assert (row[10] == colour(0.375, DIVERGING)).all()


def test_a_contrast_without_any_difference_is_flat_and_neutral(chelsea: Image.Image) -> None:
    nothing = np.zeros((3, 3), np.float32)
    drawn = pixels(heatmap(nothing, style=Style(), contrast=True, side=32))
    assert (drawn == drawn[0, 0]).all() and np.ptp(drawn[0, 0]) <= 4
    over = overlay(chelsea, nothing, (0, 0, *chelsea.size), style=Style(), contrast=True)
    assert np.array_equal(pixels(over), pixels(chelsea))


def test_in_a_contrasts_overlay_both_sides_show_and_zero_does_not() -> None:
    raw = np.array([[-4.0, 0.0, 4.0]], np.float32)
    drawn = overlay(GREY, raw, WHOLE, style=Style(), contrast=True)
    left, middle, right = pixels(drawn)[20, [5, 30, 55]]
    assert left[2] > left[0] + 30
    assert right[0] > right[2] + 30
    assert np.abs(middle - 128).max() <= 8


def test_a_contrast_has_its_own_colours_whatever_the_style() -> None:
    raw = np.array([[-1.0, 1.0]], np.float32)
    assert heatmap(raw, style=Style("jet"), contrast=True) == heatmap(raw, style=Style("viridis"), contrast=True)


# -- overlays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [(0, 0), (0, 4), (2, 0), (1, 3)])
def test_a_planted_cell_lies_where_it_was_planted_in_the_overlay(cell: tuple[int, int]) -> None:
    picture = Image.new("RGB", (300, 200), (128, 128, 128))
    x0, y0, x1, y1 = box = (40, 20, 240, 140)
    drawn = overlay(picture, planted((3, 5), cell), box, style=Style())
    x, y = centre_of(change(picture, drawn)[y0:y1, x0:x1] > 40)
    assert x == pytest.approx((cell[1] + 0.5) / 5, abs=0.08)
    assert y == pytest.approx((cell[0] + 0.5) / 3, abs=0.08)


def test_outside_the_box_the_picture_is_dimmed_and_inside_it_is_as_it_was(chelsea: Image.Image) -> None:
    x0, y0, x1, y1 = box = (76, 10, 376, 290)
    drawn = pixels(overlay(chelsea, np.zeros((7, 7), np.float32), box, style=Style()))
    inside = np.zeros(drawn.shape[:2], bool)
    inside[y0:y1, x0:x1] = True
    below = pixels(chelsea)
    assert np.array_equal(drawn[inside], below[inside])
    assert np.abs(drawn[~inside] - below[~inside] * 0.4).max() <= 0.5


@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_opacity_grows_with_the_evidence(style: Style) -> None:
    raw = np.array([[0.0, 1.0, 2.0]], np.float32)
    drawn = pixels(overlay(GREY, raw, WHOLE, style=style))[20, [5, 30, 55]]
    expected = [
        128 * (1 - 0.6 * share) + colour(share, style.colormap) * 0.6 * share  # background, then the map on it
        for share in (0.0, 0.5, 1.0)
    ]
    assert np.abs(drawn - expected).max() <= 5


def test_alpha_is_the_opacity_of_the_strongest_evidence(chelsea: Image.Image) -> None:
    raw, box = np.ones((2, 2), np.float32), (0, 0, *chelsea.size)
    assert np.array_equal(pixels(overlay(chelsea, raw, box, style=Style(alpha=0))), pixels(chelsea))
    assert (pixels(overlay(chelsea, raw, box, style=Style(alpha=1))) == colour(1.0, "inferno")).all()


@pytest.mark.parametrize("shade", [0, 255])
def test_a_black_or_a_white_picture_can_be_drawn_upon(shade: int) -> None:
    picture = Image.new("RGB", (60, 40), (shade,) * 3)
    drawn = overlay(picture, planted((2, 2), (0, 0)), WHOLE, style=Style())
    assert change(picture, drawn)[2, 2] > 40
    assert change(picture, drawn)[38, 58] == 0


# -- sizes -------------------------------------------------------------------------------------------------------------


def bright_part(drawn: Image.Image) -> tuple[int, int, int, int]:
    """The box of what is not dimmed, in an overlay of nothing on white."""
    ys, xs = np.nonzero(pixels(drawn)[..., 0] > 200)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize(
    ("size", "box", "width", "drawn_size", "drawn_box"),
    [
        ((2048, 1024), (512, 0, 1536, 1024), None, (1024, 512), (256, 0, 768, 512)),
        ((1024, 2048), (0, 512, 1024, 1536), None, (512, 1024), (0, 256, 512, 768)),
        ((2048, 1024), (512, 0, 1536, 1024), 512, (512, 256), (128, 0, 384, 256)),
        ((300, 200), (50, 0, 250, 200), None, (300, 200), (50, 0, 250, 200)),
        ((300, 200), (50, 0, 250, 200), 1024, (300, 200), (50, 0, 250, 200)),
        ((300, 200), (50, 0, 250, 200), 150, (150, 100), (25, 0, 125, 100)),
        ((200, 600), (0, 200, 200, 400), 100, (100, 300), (0, 100, 100, 200)),
        ((8, 6), (1, 0, 7, 6), None, (8, 6), (1, 0, 7, 6)),
        ((1, 1), (0, 0, 1, 1), None, (1, 1), (0, 0, 1, 1)),
        ((1001, 333), (334, 0, 667, 333), 16, (16, 5), (5, 0, 11, 5)),
    ],
)
def test_the_box_shrinks_with_a_big_picture_and_a_small_one_is_never_enlarged(
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    width: int | None,
    drawn_size: tuple[int, int],
    drawn_box: tuple[int, int, int, int],
) -> None:
    drawn = overlay(Image.new("RGB", size, "white"), np.zeros((7, 7), np.float32), box, style=Style(width=width))
    assert drawn.size == drawn_size
    assert bright_part(drawn) == drawn_box


@pytest.mark.parametrize("size", [(8192, 1), (1, 8192), (8192, 3), (5, 4000)])
@pytest.mark.parametrize("width", [None, 16, 1024])
def test_the_thinnest_pictures_can_be_drawn(size: tuple[int, int], width: int | None) -> None:
    short = min(size)
    left, top = (size[0] - short) // 2, (size[1] - short) // 2
    box = (left, top, left + short, top + short)
    drawn = overlay(Image.new("RGB", size, "white"), planted((7, 7), (3, 3)), box, style=Style(width=width))
    assert min(drawn.size) >= 1
    assert drawn.width <= (width or 1024)


def test_png_bytes_are_the_picture(chelsea: Image.Image) -> None:
    data = png_bytes(chelsea)
    with Image.open(io.BytesIO(data)) as again:
        assert again.format == "PNG"
        assert np.array_equal(np.asarray(again), np.asarray(chelsea))


# -- styles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"colormap": "rainbow"}, "colormap: 'rainbow' is not one of inferno, viridis, jet"),
        ({"colormap": ""}, "colormap: '' is not one of inferno, viridis, jet"),
        ({"colormap": "RdBu_r"}, "colormap: 'RdBu_r' is not one of inferno, viridis, jet"),
        ({"alpha": -0.01}, "alpha: -0.01 is not between 0 and 1"),
        ({"alpha": 1.01}, "alpha: 1.01 is not between 0 and 1"),
        ({"alpha": float("nan")}, "alpha: nan is not between 0 and 1"),
        ({"alpha": float("inf")}, "alpha: inf is not between 0 and 1"),
        ({"width": 15}, "width: 15 is not between 16 and 1024"),
        ({"width": 1025}, "width: 1025 is not between 16 and 1024"),
        ({"width": 0}, "width: 0 is not between 16 and 1024"),
        ({"width": -300}, "width: -300 is not between 16 and 1024"),
    ],
)
def test_a_bad_style_names_the_option_and_what_is_allowed(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        Style(**values)
    assert str(caught.value) == sentence
    assert caught.value.code == "invalid_option"


def test_the_bounds_of_a_style_are_allowed() -> None:
    for values in ({"alpha": 0.0}, {"alpha": 1.0}, {"width": 16}, {"width": 1024}):
        Style(**values)
