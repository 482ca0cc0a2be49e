"""Pictures of maps: heat maps and overlays drawn from raw maps when somebody asks. No torch.

A raw map is in logit units on the network's own grid. What is drawn is stated, never silent: negative evidence is
clipped to zero and the scale runs from 0 to the map's own maximum, unless the map is a contrast, whose diverging
scale is symmetric about zero.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import InvalidOption

COLORMAPS = ("inferno", "viridis", "jet")
DIVERGING = "RdBu_r"
LONGEST_SIDE = 1024

FloatMap = NDArray[np.float32]


@dataclass(frozen=True)
class Style:
    """How a map is drawn. `alpha` is the opacity of the strongest evidence in an overlay, `width` in pixels."""

    colormap: str = "inferno"
    alpha: float = 0.6
    width: int | None = None

    def __post_init__(self) -> None:
        if self.colormap not in COLORMAPS:
            raise InvalidOption(f"colormap: {self.colormap!r} is not one of {', '.join(COLORMAPS)}")
        if not 0 <= self.alpha <= 1:
            raise InvalidOption(f"alpha: {self.alpha} is not between 0 and 1")
        if self.width is not None and not 16 <= self.width <= LONGEST_SIDE:
            raise InvalidOption(f"width: {self.width} is not between 16 and {LONGEST_SIDE}")


def heatmap(raw: FloatMap, *, style: Style, contrast: bool = False, side: int = 448) -> Image.Image:
    """The map alone, as a square of `style.width` (or `side`) pixels."""
    size = style.width or side
    colours = _colours(_enlarge(_scaled(raw, contrast=contrast), (size, size)), style=style, contrast=contrast)
    return Image.fromarray(colours)


def overlay(
    picture: Image.Image, raw: FloatMap, box: tuple[int, int, int, int], *, style: Style, contrast: bool = False
) -> Image.Image:
    """The picture with the map laid over `box`, the part of it that the network saw (x0 y0 x1 y1 in pixels).

    Opacity grows with the strength of the evidence, so that what did not matter stays visible; what the network did
    not see is dimmed.
    """
    factor = min(1.0, (style.width or LONGEST_SIDE) / (picture.width if style.width else max(picture.size)))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    canvas = np.asarray(picture.resize(size, Image.Resampling.LANCZOS) if factor < 1 else picture).astype(np.float32)
    x0, y0, x1, y1 = (round(edge * factor) for edge in box)
    values = _enlarge(_scaled(raw, contrast=contrast), (max(1, x1 - x0), max(1, y1 - y0)))
    strength = np.abs(values * 2 - 1) if contrast else values
    colours = _colours(values, style=style, contrast=contrast).astype(np.float32)
    opacity = (style.alpha * strength)[..., None]
    out = canvas * 0.4
    seen = canvas[y0 : y0 + values.shape[0], x0 : x0 + values.shape[1]]
    out[y0 : y0 + values.shape[0], x0 : x0 + values.shape[1]] = seen * (1 - opacity) + colours * opacity
    return Image.fromarray(out.round().clip(0, 255).astype(np.uint8))


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _scaled(raw: FloatMap, *, contrast: bool) -> FloatMap:
    """To [0, 1]: from 0 to the maximum, or symmetric about zero at 0.5 for a contrast. A map without any is flat."""
    if contrast:
        limit = float(np.abs(raw).max()) or 1.0
        return ((raw / limit + 1) / 2).astype(np.float32)
    top = float(raw.max())
    positive: FloatMap = np.clip(raw, 0, None)
    return positive / top if top > 0 else np.zeros_like(raw)


def _enlarge(values: FloatMap, size: tuple[int, int]) -> FloatMap:
    """Bilinear between cell centres, to (width, height)."""
    image = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).clip(0, 1)


def _colours(values: FloatMap, *, style: Style, contrast: bool) -> NDArray[np.uint8]:
    table = matplotlib.colormaps[DIVERGING if contrast else style.colormap]
    rgb: NDArray[np.uint8] = (np.asarray(table(values))[..., :3] * 255).round().astype(np.uint8)
    return rgb
