"""Random views of a batch of pictures: flips, shifts and crops as batched tensor operations, seeded by a generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional


def alternating_flip(pictures: Tensor, indices: Tensor, *, epoch: int) -> Tensor:
    """Mirror each picture in every other epoch, so that two epochs show both sides of all (K. Jordan, 2404.00498)."""
    return torch.where(mirrored(indices, epoch=epoch)[:, None, None, None], pictures.flip(3), pictures)


def mirrored(indices: Tensor, *, epoch: int) -> Tensor:
    """Whether `alternating_flip` mirrors these pictures in an epoch, N of bool."""
    return ((indices * 2654435761 >> 7) + epoch) % 2 == 0


def shift(pictures: Tensor, *, pixels: int, generator: Generator) -> Tensor:
    """Move each picture by up to `pixels` in both directions; the uncovered border mirrors the picture."""
    count, _, height, width = pictures.shape
    padded = functional.pad(pictures, (pixels,) * 4, mode="reflect")
    dy, dx = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    rows = dy[:, None] + torch.arange(height)
    columns = dx[:, None] + torch.arange(width)
    picture = torch.arange(count)[:, None, None]
    return padded.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(pictures: Tensor, *, pixels: int, generator: Generator) -> Tensor:
    """Set a random square of each normalised picture, `pixels` on a side, to the mean colour (1708.04552)."""
    count, _, height, width = pictures.shape
    top = torch.randint(0, height - pixels + 1, (count, 1), generator=generator)
    left = torch.randint(0, width - pixels + 1, (count, 1), generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top) & (rows < top + pixels)
    inside_columns = (columns >= left) & (columns < left + pixels)
    return pictures.masked_fill((inside_rows[:, :, None] & inside_columns[:, None, :])[:, None], 0.0)


def shrink(pictures: Tensor, *, size: int) -> Tensor:
    """Resize square pictures to `size` pixels, low-passed; those of that size already come back as they are."""
    if pictures.shape[-1] == size:
        return pictures
    return functional.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=True)


def epochs_by_size(sizes: Sequence[int]) -> str:
    """A schedule of view sizes in words: "7 x 48 px, 5 x 64 px"."""
    return ", ".join(f"{sizes.count(size)} x {size} px" for size in dict.fromkeys(sizes))


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
