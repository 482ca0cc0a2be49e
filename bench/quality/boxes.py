"""How well a map finds an object whose box is known. Maps are N x H x W on the pixel grid of the boxes.

Boxes are N x 4: x0 y0 x1 y1 in pixels, both ends inclusive.
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import label, regionprops
from torch import Tensor

THRESHOLDS = torch.arange(0, 1, 0.05)  # of a map scaled to 0..1 (MaxBoxAcc: arXiv 2001.07437)
OVERLAP = 0.5  # intersection over union from which an object counts as found


def inside(boxes: Tensor, side: int) -> Tensor:
    """N x side x side, true within the box."""
    at = torch.arange(side)
    x = (at >= boxes[:, 0:1]) & (at <= boxes[:, 2:3])
    y = (at >= boxes[:, 1:2]) & (at <= boxes[:, 3:4])
    return y.unsqueeze(2) & x.unsqueeze(1)


def shares(raw: Tensor, boxes: Tensor) -> Tensor:
    """N x 2: the share of a map's positive mass within the box, and the share of the picture that the box covers.

    A map without a positive cell has no mass anywhere; its first share is 0.
    """
    positive = raw.double().clamp(min=0)
    box = inside(boxes, raw.shape[-1])
    total = positive.sum((1, 2))
    within = torch.where(total > 0, (positive * box).sum((1, 2)) / total.clamp(min=1e-300), 0.0)
    return torch.stack([within, box.double().mean((1, 2))], 1)


def hits(raw: Tensor, boxes: Tensor) -> Tensor:
    """N booleans: whether the highest pixel lies within the box (pointing game without tolerance: arXiv 1608.00507)."""
    side = raw.shape[-1]
    top = raw.flatten(1).argmax(1, keepdim=True)
    return inside(boxes, side).flatten(1).gather(1, top)[:, 0]


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes, ... x 4 each."""
    width = torch.minimum(first[..., 2], second[..., 2]) - torch.maximum(first[..., 0], second[..., 0]) + 1
    height = torch.minimum(first[..., 3], second[..., 3]) - torch.maximum(first[..., 1], second[..., 1]) + 1
    shared = (width.clamp(min=0) * height.clamp(min=0)).double()
    return shared / (_area(first) + _area(second) - shared)


def found_by_threshold(raw: Tensor, boxes: Tensor) -> Tensor:
    """N x T booleans: whether the box around the largest region above each threshold overlaps the true box enough."""
    low = raw.amin((1, 2), keepdim=True)
    span = (raw.amax((1, 2), keepdim=True) - low).clamp(min=torch.finfo(raw.dtype).tiny)
    scaled = ((raw - low) / span).numpy()
    drawn = torch.tensor([[_largest_region(one >= threshold) for threshold in THRESHOLDS.tolist()] for one in scaled])
    return overlaps(drawn, boxes.unsqueeze(1)) >= OVERLAP


def centre_gaussian(side: int, *, sd: float) -> Tensor:
    """side x side, a bell around the middle of the picture; `sd` in pixels."""
    at = torch.arange(side) - (side - 1) / 2
    bell = torch.exp(-(at**2) / (2 * sd**2))
    return bell.unsqueeze(1) * bell


def best_centre_box(boxes: Tensor, side: int) -> tuple[Tensor, float]:
    """The one centred box that finds the most objects, and the share that it finds."""
    margins = torch.arange(side // 2)
    x, y = torch.meshgrid(margins, margins, indexing="xy")
    centred = torch.stack([x, y, side - 1 - x, side - 1 - y], 2).flatten(0, 1)
    found = (overlaps(centred.unsqueeze(1), boxes) >= OVERLAP).double().mean(1)
    best = int(found.argmax())
    return centred[best], float(found[best])


def _area(boxes: Tensor) -> Tensor:
    return ((boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)).double()


def _largest_region(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The box of the largest connected region of a mask; one without area where the mask is empty."""
    regions = regionprops(label(mask, connectivity=1))  # type: ignore[no-untyped-call]  # neither has types
    if not regions:
        return 0, 0, -1, -1
    y0, x0, y1, x1 = max(regions, key=lambda one: one.area).bbox
    return x0, y0, x1 - 1, y1 - 1
