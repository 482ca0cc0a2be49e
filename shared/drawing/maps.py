"""Pictures of maps: heat maps and overlays drawn from raw maps when somebody asks. No torch.

A raw map is in its own unit (logit units for a class activation map) on its own grid. What is drawn is stated, never
silent: negative evidence is clipped to zero and the scale runs from 0 to the map's own maximum, unless the map is a
contrast, whose diverging scale is symmetric about zero, a scale is asked for, or few cells stick out so far that the
others could not be seen. A colour bar says so in the picture.
"""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.answer.maps import LOGIT, AnyMap
from shared.drawing.legend import ColourBar, with_legend
from shared.drawing.phrases import number
from shared.drawing.regions import enlarge, region
from shared.drawing.scales import FloatMap, Scale
from shared.errors import InvalidOption
from shared.images.decode import LONGEST_SIDE, Box

COLORMAPS = ("inferno", "viridis", "jet")
DIVERGING = "RdBu_r"
GREY = (128, 128, 128)  # what the bar of an overlay is laid over: neither of a bright picture nor of a dark one
_DIMMED = [(4 * level + 5) // 10 for level in range(256)] * 3  # 0.4 of each band's level, rounded
_STEPS = 257  # an odd number of colours, so that one of them is the middle of a diverging table


@dataclass(frozen=True)
class Style:
    """How a map is drawn.

    `alpha` is the opacity of the strongest evidence in an overlay, `width` that of the picture in pixels. `bar` adds a
    colour bar below. `scale` is the value at the top of the scale, in the map's unit; by default the map's own maximum,
    or that of its cells without outliers.
    `box` outlines the strongest region: where the map is at least that share of its maximum.
    """

    colormap: str = "inferno"
    alpha: float = 0.6
    width: int | None = None
    bar: bool = False
    scale: float | None = None
    box: float | None = None

    def __post_init__(self) -> None:
        if self.colormap not in COLORMAPS:
            raise InvalidOption(f"colormap: {self.colormap!r} is not one of {', '.join(COLORMAPS)}")
        if not 0 <= self.alpha <= 1:
            raise InvalidOption(f"alpha: {self.alpha} is not between 0 and 1")
        if self.width is not None and not 16 <= self.width <= LONGEST_SIDE:
            raise InvalidOption(f"width: {self.width} is not between 16 and {LONGEST_SIDE}")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise InvalidOption(f"scale: {self.scale} is not a number above 0")
        if self.box is not None and not 0 < self.box <= 1:
            raise InvalidOption(f"box: {self.box} is not above 0 and at most 1")


def heatmap(raw: FloatMap, *, style: Style, contrast: bool = False, side: int = 448, unit: str = LOGIT) -> Image.Image:
    """The map alone, as a square of `style.width` (or `side`) pixels; bar and box as the style asks."""
    size = style.width or side
    scale = Scale.drawn(raw, contrast=contrast, top=style.scale)
    picture = _painted(enlarge(scale.shares(raw), (size, size)), _inks(style, contrast=contrast)).convert("RGB")
    bar = _bar(_table_of(style, contrast=contrast), scale) if style.bar else None
    return _explained(picture, raw, (0, 0, size, size), style=style, bar=bar, scale=scale, unit=unit)


def overlay(
    picture: Image.Image, raw: FloatMap, box: Box, *, style: Style, contrast: bool = False, unit: str = LOGIT
) -> Image.Image:
    """The picture with the map laid over `box`, the part of it that the network saw (x0 y0 x1 y1 in pixels).

    Opacity grows with the strength of the evidence, so that what did not matter stays visible; what the network did
    not see is dimmed. Bar and box as the style asks.
    """
    factor = min(1.0, (style.width or LONGEST_SIDE) / (picture.width if style.width else max(picture.size)))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0) if factor < 1 else picture
    x0, y0, x1, y1 = drawn_box = _drawn_box(box, factor, size)
    scale, inks = Scale.drawn(raw, contrast=contrast, top=style.scale), _inks(style, contrast=contrast)
    out = small.point(_DIMMED)
    out.paste(small.crop(drawn_box), drawn_box)
    _lay(_painted(enlarge(scale.shares(raw), (x1 - x0, y1 - y0)), inks), out, drawn_box)
    bar = _bar(_on_grey(inks), scale) if style.bar else None
    return _explained(out, raw, drawn_box, style=style, bar=bar, scale=scale, unit=unit)


def entry_heatmap(entry: AnyMap, maps: Mapping[str, FloatMap], *, style: Style) -> Image.Image:
    """The heat map of a map of an answer. `maps` are the arrays of its result."""
    return heatmap(entry.raw(maps), style=style, contrast=entry.is_contrast, unit=entry.unit)


def entry_overlay(
    entry: AnyMap, maps: Mapping[str, FloatMap], picture: Image.Image, box: Box, *, style: Style
) -> Image.Image:
    """A map of an answer, laid over `box` of the picture. `maps` are the arrays of its result."""
    return overlay(picture, entry.raw(maps), box, style=style, contrast=entry.is_contrast, unit=entry.unit)


def strip(name: str) -> Image.Image:
    """A colour table as a picture one pixel high, from the lowest value to the highest."""
    return Image.fromarray(_table(name)[None])


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # 3 % larger than at level 3, in two thirds of the time
    return buffer.getvalue()


def jpeg_bytes(image: Image.Image, *, quality: int = 90) -> bytes:
    """Encoded by way of a file: to that Pillow writes without the interpreter, so that other threads go on."""
    with tempfile.TemporaryFile() as file:
        image.save(file, "JPEG", quality=quality)
        file.seek(0)
        return file.read()


def _drawn_box(box: Box, factor: float, size: tuple[int, int]) -> Box:
    """The box in a picture that was scaled by `factor` to `size`; at least one pixel of it."""
    x0, y0, x1, y1 = (round(edge * factor) for edge in box)
    x0, y0 = min(x0, size[0] - 1), min(y0, size[1] - 1)
    return x0, y0, min(max(x1, x0 + 1), size[0]), min(max(y1, y0 + 1), size[1])


def _inks(style: Style, *, contrast: bool) -> NDArray[np.uint32]:
    """The colours of the steps from 0 to 1 as pixels with an opacity, which is as strong as the evidence."""
    values = np.linspace(0, 1, _STEPS)
    strength = np.abs(values * 2 - 1) if contrast else values
    opacity = _bytes(255 * style.alpha * strength)
    return np.column_stack([_table_of(style, contrast=contrast), opacity]).view(np.uint32)[:, 0]


def _painted(values: FloatMap, inks: NDArray[np.uint32]) -> Image.Image:
    """The ink of each value in [0, 1]. Pixels are taken whole, many times as fast as colour by colour."""
    pixels = inks.take(np.rint(values * (_STEPS - 1)).astype(np.intp))
    return Image.frombuffer("RGBA", values.shape[::-1], pixels, "raw", "RGBA", 0, 1)


def _on_grey(inks: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The inks' colours, from 0 to 1, where they are laid over a picture."""
    ramp = Image.new("RGB", (_STEPS, 1), GREY)
    _lay(_painted(np.linspace(0, 1, _STEPS, dtype=np.float32)[None], inks), ramp, (0, 0, *ramp.size))
    colours: NDArray[np.uint8] = np.asarray(ramp)[0]
    return colours


def _lay(ink: Image.Image, below: Image.Image, box: Box) -> None:
    below.paste(ink, box, mask=ink)


def _explained(
    picture: Image.Image, raw: FloatMap, box: Box, *, style: Style, bar: ColourBar | None, scale: Scale, unit: str
) -> Image.Image:
    """The picture with what the style asks for beside the map: the box in it, the bar and the sentences below."""
    sentences = [f"Unit: {unit}; {scale.note}."] if bar else []
    if style.box is not None:
        found = region(raw, box, threshold=style.box)
        if found is not None:
            _outline(picture, found)
            sentences.append(f"Box: the map is at least {style.box * 100:.3g}% of its maximum.")
        else:
            sentences.append("No box: no evidence is positive.")
    if not sentences:
        return picture
    return with_legend(picture, bar=bar, sentences=sentences)


def _outline(picture: Image.Image, box: Box) -> None:
    """A white line between two dark ones, to be seen on any ground."""
    draw = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = box[0], box[1], box[2] - 1, box[3] - 1
    draw.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=(0, 0, 0), width=3)
    draw.rectangle((x0, y0, x1, y1), outline=(255, 255, 255))


def _bar(ramp: NDArray[np.uint8], scale: Scale) -> ColourBar:
    return ColourBar(ramp, [(place, number(value)) for place, value in scale.ticks])


def _table_of(style: Style, *, contrast: bool) -> NDArray[np.uint8]:
    return _table(DIVERGING if contrast else style.colormap)


@cache
def _table(name: str) -> NDArray[np.uint8]:
    """The colours of a map of matplotlib's, from 0 to 1 in even steps."""
    rgba = matplotlib.colormaps[name].resampled(_STEPS)(np.arange(_STEPS))
    return _bytes(rgba[:, :3] * 255)


def _bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values in [0, 255], rounded."""
    return (values + 0.5).astype(np.uint8)
