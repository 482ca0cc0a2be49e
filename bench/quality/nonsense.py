"""Images that show no object: generated ones by seed, and the ones of scikit-image that are no photographs of things.

None shows a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from shared.images.decode import Photo

SIDE = 320  # pixels
INSTALLED = (  # functions of skimage.data whose images come with the package
    "brick",
    "cell",
    "checkerboard",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "microaneurysms",
    "moon",
    "page",
    "retina",
    "shepp_logan_phantom",
    "text",
)
WORDS = ("of", "the", "map", "and", "network", "image", "class", "score", "node", "sum", "tree", "level", "answer")

Generator = np.random.Generator


def generated(count: int, *, seed: int) -> dict[str, list[Photo]]:
    """`count` images of each kind, by kind."""
    return {
        kind: [
            Photo.whole(Image.fromarray(draw(np.random.default_rng([seed, number, i]))).convert("RGB"))
            for i in range(count)
        ]
        for number, (kind, draw) in enumerate(KINDS.items())
    }


def installed() -> dict[str, Photo]:
    """Those of scikit-image, by name."""
    import skimage.data

    found = {name: getattr(skimage.data, name)() for name in INSTALLED}
    levels = {name: one if one.dtype == np.uint8 else (255 * one).astype(np.uint8) for name, one in found.items()}
    return {name: Photo.whole(Image.fromarray(one).convert("RGB")) for name, one in levels.items()}


def noise(generator: Generator) -> NDArray[np.uint8]:
    """Uniform noise in blocks of 1 to 32 pixels a side."""
    block = 2 ** int(generator.integers(0, 6))
    small = generator.integers(0, 256, (SIDE // block, SIDE // block, 3), dtype=np.uint8)
    return np.kron(small, np.ones((block, block, 1), np.uint8))


def text_page(generator: Generator) -> NDArray[np.uint8]:
    """Lines of words, dark on light."""
    size = int(generator.integers(10, 22))
    page = Image.new("RGB", (SIDE, SIDE), tuple(generator.integers(225, 256, 3).tolist()))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    ink = tuple(generator.integers(0, 60, 3).tolist())
    for y in range(size, SIDE - size, int(size * 1.5)):
        draw.text((size, y), " ".join(generator.choice(WORDS, 60)), font=font, fill=ink)
    draw.rectangle((SIDE - size, 0, SIDE, SIDE), fill=page.getpixel((0, 0)))
    return np.asarray(page)


def texture(generator: Generator) -> NDArray[np.uint8]:
    """Two waves that cross, in two colours."""
    y, x = np.mgrid[:SIDE, :SIDE]
    value = np.zeros((SIDE, SIDE))
    for _ in range(2):
        angle, period = generator.uniform(0, np.pi), generator.uniform(6, 60)
        value += np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)
    share = ((value + 2) / 4)[..., None]
    first, second = generator.integers(0, 256, (2, 3))
    found: NDArray[np.uint8] = (share * first + (1 - share) * second).astype(np.uint8)
    return found


def micrograph(generator: Generator) -> NDArray[np.uint8]:
    """Stained discs with darker cores on a light ground, slightly out of focus."""
    ground = np.array([235, 215, 225]) + generator.integers(-15, 16, 3)
    slide = Image.new("RGB", (SIDE, SIDE), tuple(ground.tolist()))
    draw = ImageDraw.Draw(slide)
    stain = generator.integers(90, 200, 3)
    for _ in range(int(generator.integers(30, 150))):
        (x, y), radius = generator.uniform(0, SIDE, 2), generator.uniform(6, 18)
        shade = np.clip(stain + generator.integers(-20, 21, 3), 0, 255)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(shade.tolist()))
        core = radius * 0.4
        draw.ellipse((x - core, y - core, x + core, y + core), fill=tuple((shade // 2).tolist()))
    blurred = np.asarray(slide.filter(ImageFilter.GaussianBlur(generator.uniform(0.5, 2)))).astype(int)
    grainy = blurred + generator.integers(-8, 9, blurred.shape)
    return np.clip(grainy, 0, 255).astype(np.uint8)


KINDS: Mapping[str, Callable[[Generator], NDArray[np.uint8]]] = {
    "noise": noise,
    "text pages": text_page,
    "textures": texture,
    "micrograph-like images": micrograph,
}
