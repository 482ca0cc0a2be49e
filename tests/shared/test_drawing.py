"""Pictures of maps: hot looks hot, in the right place, on a scale that is stated."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from shared.drawing.maps import COLORMAPS, DIVERGING, Style, heatmap, jpeg_bytes, overlay, png_bytes
from shared.drawing.regions import enlarge, region
from shared.drawing.scales import FloatMap, Scale
from shared.errors import InvalidOption

Array = NDArray[Any]
STYLES = [Style(colormap=name) for name in COLORMAPS]
GREY = Image.new("RGB", (60, 40), (128, 128, 128))
WHOLE = (0, 0, 60, 40)
GREY300 = Image.new("RGB", (300, 300), (128, 128, 128))
NEUTRAL = (247, 247, 247)  # the middle of ColorBrewer's RdBu


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
    assert (zero == NEUTRAL).all()
    assert (strongly_for == colour(1.0, DIVERGING)).all() and strongly_for[0] > strongly_for[2] + 50
    assert (against == colour(0.0, DIVERGING)).all() and against[2] > against[0] + 50
    for strong, weak in ((strongly_for, half_for), (against, half_against)):
        assert weak.min() > strong.min(), "half as much is paler"


def test_a_contrasts_scale_is_symmetric_however_one_sided_its_values_are() -> None:
    raw = np.array([[0.0, 4.0]], np.float32)
    row = pixels(heatmap(raw, style=Style(), contrast=True, side=100))[50]
    assert (row[10] == NEUTRAL).all()
    raw = np.array([[-1.0, 4.0]], np.float32)
    row = pixels(heatmap(raw, style=Style(), contrast=True, side=100))[50]
    assert np.abs(row[10] - colour(0.375, DIVERGING)).max() <= 1


def test_a_contrast_without_any_difference_is_flat_and_neutral(chelsea: Image.Image) -> None:
    nothing = np.zeros((3, 3), np.float32)
    drawn = pixels(heatmap(nothing, style=Style(), contrast=True, side=32))
    assert (drawn == NEUTRAL).all()
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


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.37, 1.0])
def test_an_overlay_is_the_sum_of_picture_and_colours_to_within_two_levels(
    alpha: float, contrast: bool, chelsea: Image.Image
) -> None:
    raw = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    x0, y0, x1, y1 = box = (76, 10, 376, 290)
    drawn = pixels(overlay(chelsea, raw, box, style=Style(alpha=alpha), contrast=contrast))[y0:y1, x0:x1]
    values = enlarge(Scale.of(raw, contrast=contrast).shares(raw), (x1 - x0, y1 - y0))
    opacity = (alpha * (np.abs(values * 2 - 1) if contrast else values))[..., None]
    table = matplotlib.colormaps[DIVERGING if contrast else "inferno"].resampled(257)
    colours = table(np.rint(values * 256).astype(int))[..., :3] * 255
    expected = pixels(chelsea)[y0:y1, x0:x1] * (1 - opacity) + colours * opacity
    assert np.abs(drawn - expected).max() <= 2


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


# -- shared scales, bars and boxes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_on_a_shared_scale_equal_values_have_equal_colours(style: Style, contrast: bool) -> None:
    weak, strong = np.array([[1.0, 2.0]], np.float32), np.array([[2.0, 9.0]], np.float32)
    shared = replace(style, scale=10.0)
    first, second = (pixels(heatmap(m, style=shared, contrast=contrast, side=100)) for m in (weak, strong))
    assert (first[50, 99] == second[50, 0]).all()
    first, second = (pixels(overlay(GREY, m, WHOLE, style=shared, contrast=contrast)) for m in (weak, strong))
    assert (first[20, 59] == second[20, 0]).all()


def test_values_above_a_shared_scale_are_drawn_as_its_top() -> None:
    raw = np.array([[5.0, 50.0]], np.float32)
    drawn = pixels(heatmap(raw, style=Style(scale=5.0), side=32))
    assert (drawn == colour(1.0, "inferno")).all()


@pytest.mark.parametrize("contrast", [False, True])
def test_a_bar_stands_below_and_leaves_the_picture_as_it_was(contrast: bool, chelsea: Image.Image) -> None:
    raw = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    box = (76, 10, 376, 290)
    for plain, barred in (
        [heatmap(raw, style=Style(bar=bar), contrast=contrast) for bar in (False, True)],
        [overlay(chelsea, raw, box, style=Style(bar=bar), contrast=contrast) for bar in (False, True)],
    ):
        assert barred.width == plain.width and barred.height > plain.height + 40
        assert np.array_equal(pixels(barred)[: plain.height], pixels(plain))


@pytest.mark.parametrize("style", STYLES, ids=COLORMAPS)
def test_the_bar_of_a_heat_map_has_the_maps_colours(style: Style) -> None:
    row = pixels(heatmap(planted((2, 2), (0, 0)), style=replace(style, bar=True), side=300))[300 + 15, 9:291]
    assert np.abs(row[0] - colour(0.0, style.colormap)).max() <= 6
    assert np.abs(row[-1] - colour(1.0, style.colormap)).max() <= 6
    assert np.abs(row[141] - colour(0.5, style.colormap)).max() <= 6


def test_the_bar_of_an_overlay_is_the_bare_ground_where_the_evidence_is_nothing() -> None:
    picture = Image.new("RGB", (300, 200), "grey")
    raw = planted((2, 2), (0, 0))
    for contrast, nothing in ((False, 0), (True, 141)):
        drawn = pixels(overlay(picture, raw, (0, 0, 300, 200), style=Style(bar=True), contrast=contrast))
        row = drawn[200 + 15, 9:291]
        assert np.abs(row[nothing] - 128).max() <= 4
        assert np.abs(row[-1] - 128).max() > 60


def test_a_box_is_drawn_around_the_planted_peak_and_explained_below() -> None:
    raw = planted((10, 10), (2, 7))
    plain, boxed = (pixels(overlay(GREY300, raw, (0, 0, 300, 300), style=Style(box=box))) for box in (None, 0.5))
    assert boxed.shape[0] > plain.shape[0]
    ys, xs = np.nonzero((boxed[:300] == 255).all(axis=2))
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == region(raw, (0, 0, 300, 300), threshold=0.5)
    ys, xs = np.nonzero((boxed[:300] != plain).any(axis=2))
    assert xs.min() >= 190 and xs.max() < 260 and ys.min() >= 40 and ys.max() < 110


def test_without_positive_evidence_there_is_no_outline() -> None:
    raw = np.full((3, 3), -1.0, np.float32)
    plain, boxed = (pixels(overlay(GREY300, raw, (0, 0, 300, 300), style=Style(box=box))) for box in (None, 0.5))
    assert np.array_equal(boxed[:300], plain) and boxed.shape[0] > 300


@given(
    arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(width=32)),
    st.booleans(),
    st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
@settings(max_examples=30, deadline=None)
def test_any_map_can_be_drawn_on_any_picture(
    raw: FloatMap, contrast: bool, scale: float | None, size: tuple[int, int]
) -> None:
    style = Style(scale=scale, bar=True, box=0.5, width=16)
    picture = Image.new("RGB", size, (90, 90, 90))
    assert heatmap(raw, style=style, contrast=contrast).mode == "RGB"
    assert overlay(picture, raw, (0, 0, *size), style=style, contrast=contrast).mode == "RGB"


@pytest.mark.parametrize("shape", [(1, 1), (112, 112), (224, 224), (3, 300)])
def test_a_grid_of_any_size_can_be_drawn(shape: tuple[int, int]) -> None:
    raw = planted(shape, (0, 0))
    for size in (GREY.size, (1, 1), (8192, 2), (2, 8192)):
        drawn = overlay(Image.new("RGB", size), raw, (0, 0, *size), style=Style(bar=True, box=0.5))
        assert drawn.width <= 1024


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


def test_jpeg_bytes_are_what_pillow_writes(chelsea: Image.Image) -> None:
    expected = io.BytesIO()
    chelsea.save(expected, "JPEG", quality=80)
    assert jpeg_bytes(chelsea, quality=80) == expected.getvalue()


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
        ({"scale": 0.0}, "scale: 0.0 is not a number above 0"),
        ({"scale": -1.0}, "scale: -1.0 is not a number above 0"),
        ({"scale": float("nan")}, "scale: nan is not a number above 0"),
        ({"scale": float("inf")}, "scale: inf is not a number above 0"),
        ({"box": 0.0}, "box: 0.0 is not above 0 and at most 1"),
        ({"box": 1.01}, "box: 1.01 is not above 0 and at most 1"),
        ({"box": float("nan")}, "box: nan is not above 0 and at most 1"),
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
