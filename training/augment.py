"""Random views of a batch of pictures: flips, shifts and crops as batched tensor operations, seeded by a generator."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional


def alternating_flip(pictures: Tensor, indices: Tensor, *, epoch: int) -> Tensor:
    """Mirror each picture in every other epoch, so that two epochs show both sides of all (K. Jordan, 2404.00498)."""
    mirrored = ((indices * 2654435761 >> 7) + epoch) % 2 == 0
    return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)


def shift(pictures: Tensor, *, pixels: int, generator: Generator) -> Tensor:
    """Move each picture by up to `pixels` in both directions; the uncovered border mirrors the picture."""
    count, _, height, width = pictures.shape
    padded = functional.pad(pictures, (pixels,) * 4, mode="reflect")
    dy, dx = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    rows = dy[:, None] + torch.arange(height)
    columns = dx[:, None] + torch.arange(width)
    picture = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def crop_and_resize(pictures: Tensor, *, size: int, area: tuple[float, float], generator: Generator) -> Tensor:
    """Cut a random window of `area` (share of the picture, aspect 3/4 to 4/3) and resize it to `size`, bilinear."""
    count = len(pictures)
    share = torch.empty(count).uniform_(*area, generator=generator)
    aspect = torch.empty(count).uniform_(-0.2877, 0.2877, generator=generator).exp()
    width = (share * aspect).sqrt().clamp(max=1)
    height = (share / aspect).sqrt().clamp(max=1)
    x = (torch.rand(count, generator=generator) * 2 - 1) * (1 - width)
    y = (torch.rand(count, generator=generator) * 2 - 1) * (1 - height)
    zero = torch.zeros(count)
    window = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
    grid = functional.affine_grid(window, [count, 3, size, size], align_corners=False)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
