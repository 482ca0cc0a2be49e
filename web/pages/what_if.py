"""What if the strongest evidence were hidden? The mask of a map's hottest region, as a what-if takes it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from shared.drawing.maps import png_bytes
from shared.drawing.regions import enlarge
from shared.drawing.scales import FloatMap, Scale
from shared.errors import InvalidOption
from shared.images.decode import Box

HOT = 0.5  # of the map's maximum


def hottest(raw: FloatMap, box: Box, size: tuple[int, int]) -> bytes:
    """A PNG of `size` (width, height), white where the map over `box` is at least half its maximum.

    Raises InvalidOption for a map without positive evidence.
    """
    scale = Scale.of(raw)
    if scale.top == 0:
        raise InvalidOption("mask: the map has no positive evidence to hide")
    x0, y0, x1, y1 = box
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[y0:y1, x0:x1] = (enlarge(scale.shares(raw), (x1 - x0, y1 - y0)) >= HOT) * np.uint8(255)
    return png_bytes(Image.fromarray(mask))
