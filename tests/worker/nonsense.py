"""Images that show nothing that a classifier of things could name: noise, pages of text, textures, micrographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 256
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def image(values: NDArray[np.float64]) -> Image.Image:
    """Of levels from 0 to 1."""
    return Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8)).convert("RGB")


def noise(rng: Generator) -> Image.Image:
    """Coarse or fine, grey or coloured."""
    cells = int(rng.choice([32, 64, 128, 256]))
    shape = (cells, cells, 3) if rng.random() < 0.5 else (cells, cells)
    values = rng.random(shape) if rng.random() < 0.5 else 0.5 + 0.2 * rng.standard_normal(shape)
    return image(values).resize((SIDE, SIDE), Image.Resampling(int(rng.integers(0, 4))))


def text(rng: Generator) -> Image.Image:
    """Lines of made-up words, dark on light."""
    page = Image.new("RGB", (SIDE, SIDE), tuple(int(level) for level in rng.integers(235, 256, 3)))
    size = int(rng.integers(8, 14))
    font, pen = ImageFont.load_default(size), ImageDraw.Draw(page)
    for row in range(8, SIDE - 8, size + 4):
        words = ("".join(rng.choice(list(LETTERS), int(rng.integers(2, 9)))) for _ in range(14))
        pen.text((10, row), " ".join(words), fill=(30, 30, 40), font=font)
    return page


def texture(rng: Generator) -> Image.Image:
    """A few waves in random directions, in two colours."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    waves = sum(
        np.sin(2 * np.pi * (rng.normal(0, 12) * rows + rng.normal(0, 12) * columns) + rng.random() * 6)
        for _ in range(int(rng.integers(3, 8)))
    )
    share = (np.tanh(waves) / 2 + 0.5)[:, :, None]
    first, second = rng.random(3), rng.random(3)
    return image(share * first + (1 - share) * second)


def micrograph(rng: Generator) -> Image.Image:
    """Stained cells with a kernel each on a pale ground, out of focus."""
    ground = tuple(int(level) for level in rng.integers(200, 245, 3))
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(30, 90))):
        x, y, radius = int(rng.integers(SIDE)), int(rng.integers(SIDE)), int(rng.integers(6, 16))
        body, kernel = ((int(rng.integers(150, 200)), 110, 170), (80, 40, int(rng.integers(100, 150))))
        for colour, reach in ((body, radius), (kernel, radius // 2)):
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2))))


KINDS: Mapping[str, Callable[[Generator], Image.Image]] = {
    "noise": noise,
    "text": text,
    "texture": texture,
    "micrograph": micrograph,
}


def images(kind: str, count: int) -> list[Image.Image]:
    """The same at every call."""
    rng = default_rng(0)
    return [KINDS[kind](rng) for _ in range(count)]
