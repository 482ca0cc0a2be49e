"""From a photo to a network's input, the one way that every part of Pathlight goes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from shared.cards import InputSpec

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def crop_box(width: int, height: int, spec: InputSpec) -> tuple[int, int, int, int]:
    """The part of a picture that the network sees, x0 y0 x1 y1 in pixels: the centre square, less what a crop
    smaller than the resized shorter side cuts off."""
    side = min(width, height) * spec.crop / spec.resize
    x0, y0 = (width - side) / 2, (height - side) / 2
    return round(x0), round(y0), round(x0 + side), round(y0 + side)


def to_tensor(picture: Image.Image, spec: InputSpec) -> Tensor:
    """RGB picture -> normalised 3 x size x size tensor.

    The seen square is reduced to `crop` pixels with an antialiasing filter and then enlarged to `size`: a network
    trained on small pictures must see a large photograph through the same low-pass.
    """
    box = crop_box(*picture.size, spec)
    box = (box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
    small = picture.resize((spec.crop, spec.crop), FILTERS[spec.interpolation], box=box)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
    normal = (pixels - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1)
    if spec.size == spec.crop:
        return normal
    enlarged = functional.interpolate(normal[None], size=spec.size, mode="bilinear", align_corners=False)
    return enlarged[0]
