"""What stands below a drawn map: its colour bar with numbers, and the sentences that a reader needs.

Drawn with Pillow and the DejaVu font that matplotlib brings. Every call loads its own font, so that threads share
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GROUND = (250, 248, 245)
INK = (32, 28, 38)
EDGE = (141, 132, 148)
LEAST_WIDTH = 240  # pixels; below it the numbers would meet
FONT_SIZES = (11, 18)


@dataclass(frozen=True)
class ColourBar:
    """The colours from left to right (n x 3), and what is written below at places in [0, 1]."""

    colours: NDArray[np.uint8]
    ticks: Sequence[tuple[float, str]]


def with_legend(picture: Image.Image, *, bar: ColourBar | None, sentences: Sequence[str]) -> Image.Image:
    """The picture with bar and sentences on light ground below it, at least LEAST_WIDTH pixels wide."""
    width = max(picture.width, LEAST_WIDTH)
    font = _font(width)
    line, pad = round(font.size * 1.4), round(font.size * 0.8)
    lines = [part for text in sentences for part in _wrap(text, font, width - 2 * pad)]
    top = picture.height + pad
    text_top = top + (round(2.7 * line) if bar else 0)
    canvas = Image.new("RGB", (width, text_top + len(lines) * line + pad), GROUND)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    if bar:
        _draw_bar(canvas, draw, bar, (pad, top, width - pad, top + line), font)
    for number, text in enumerate(lines):
        draw.text((pad, text_top + number * line), text, INK, font, anchor="la")
    return canvas


def _draw_bar(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    bar: ColourBar,
    box: tuple[int, int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    x0, y0, x1, y1 = box
    ramp = Image.fromarray(bar.colours[None]).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    canvas.paste(ramp, (x0, y0))
    draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=EDGE)
    for place, text in bar.ticks:
        x = x0 + place * (x1 - 1 - x0)
        draw.line((x, y1 + 1, x, y1 + 3), INK)
        half = font.getlength(text) / 2
        draw.text((min(max(x, x0 + half), x1 - half), y1 + 4), text, INK, font, anchor="ma")


def _font(width: int) -> ImageFont.FreeTypeFont:
    least, most = FONT_SIZES
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, min(most, max(least, width // 40)), layout_engine=ImageFont.Layout.BASIC)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of whole words that fit; a word that fits on no line stands on its own."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
