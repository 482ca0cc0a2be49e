"""Where the evidence lies in the picture: maps enlarged to pixels, and the box around their strongest region."""

from __future__ import annotations

import numpy as np
from PIL import Image

from shared.drawing.scales import FloatMap, Scale
from shared.images.decode import Box


def enlarge(shares: FloatMap, size: tuple[int, int]) -> FloatMap:
    """Values in [0, 1] but for the last bit, at (width, height) pixels: bilinear between cell centres, means where
    cells outnumber pixels."""
    return np.asarray(Image.fromarray(shares).resize(size, Image.Resampling.BILINEAR))


def region(raw: FloatMap, box: Box, *, threshold: float) -> Box | None:
    """The bounding box of the strongest region of a map of h x w cells that lies over `box`, in the picture's pixels.

    The region is the connected part (4 neighbours), around the strongest pixel, of where the enlarged positive evidence
    is at least `threshold` (above 0, at most 1) of its maximum. None where no evidence is positive.
    """
    from scipy import ndimage  # here: it loads slowly, and few pictures have a box

    scale = Scale.of(raw)
    if scale.top == 0:
        return None
    x0, y0, x1, y1 = box
    values = enlarge(scale.shares(raw), (x1 - x0, y1 - y0))
    peak = np.unravel_index(values.argmax(), values.shape)
    labels, _ = ndimage.label(values >= threshold * values[peak])
    rows, columns = ndimage.find_objects(labels)[labels[peak] - 1]
    return x0 + columns.start, y0 + rows.start, x0 + columns.stop, y0 + rows.stop
