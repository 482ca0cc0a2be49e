"""From a photo to a network's input, the one way that every part of Pathlight goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from shared.cards import InputSpec
from shared.images import Photo
from worker.threads import side_by_side

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def crop_box(width: int, height: int, spec: InputSpec) -> tuple[int, int, int, int]:
    """The part of a picture that the network sees, x0 y0 x1 y1 in pixels: the centre square, less what a crop
    smaller than the resized shorter side cuts off."""
    side = min(width, height) * spec.crop / spec.resize
    x0, y0 = (width - side) / 2, (height - side) / 2
    return round(x0), round(y0), round(x0 + side), round(y0 + side)


def to_tensor(picture: Image.Image, spec: InputSpec) -> Tensor:
    """RGB picture -> normalised 3 x size x size tensor."""
    return to_tensors([Photo.whole(picture)], spec)[0]


def to_tensors(photos: Sequence[Photo], spec: InputSpec) -> Tensor:
    """N photos -> normalised N x 3 x size x size tensor, channels last in memory."""
    rows = np.empty((len(photos), spec.crop, 3 * spec.crop), np.float32)
    means, deviations = (np.tile(np.array(one, np.float32), spec.crop) for one in (spec.mean, spec.std))

    def normalise(i: int) -> None:
        """Picture by picture, while it is at hand; long rows are done many times as fast as single pixels."""
        levels = visible_square(photos[i], spec).reshape(rows.shape[1:])
        np.divide(levels, np.float32(255), out=rows[i])
        np.subtract(rows[i], means, out=rows[i])
        np.divide(rows[i], deviations, out=rows[i])

    side_by_side(normalise, range(len(photos)), threads=torch.get_num_threads())
    normal = torch.from_numpy(rows.reshape(len(photos), spec.crop, spec.crop, 3)).permute(0, 3, 1, 2)
    if spec.size == spec.crop:
        return normal
    return functional.interpolate(normal, size=spec.size, mode="bilinear", align_corners=False)


def visible_square(photo: Photo, spec: InputSpec) -> NDArray[np.uint8]:
    """The square of a picture that the network sees, crop x crop x 3.

    It is reduced to `crop` pixels with an antialiasing filter and only then enlarged to `size`: a network trained on
    small pictures must see a large photograph through the same low-pass.
    """
    x0, y0, x1, y1 = crop_box(*photo.size, spec)
    edges = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
    left, top, right, bottom = (edge / photo.divisor for edge in edges)
    box = (left, top, right, bottom)
    return np.asarray(photo.pixels.resize((spec.crop, spec.crop), FILTERS[spec.interpolation], box=box))
