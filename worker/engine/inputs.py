"""From a photo to a network's input, the one way that every part of Pathlight goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from shared.cards.card import InputSpec
from shared.images.decode import Photo
from shared.images.seeing import Seen, visible_square
from worker.engine.threads import side_by_side


def to_tensor(picture: Image.Image, spec: InputSpec) -> Tensor:
    """RGB picture -> normalised 3 x size x size tensor."""
    return to_tensors([Photo.whole(picture)], spec)[0]


def to_tensors(photos: Sequence[Seen], spec: InputSpec) -> Tensor:
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
