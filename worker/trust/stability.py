"""Stability of maps: does a map stay the same when the picture changes in a way that no one would notice?

Three changes of the network's input: faint noise, a shift by one pixel, a mirror image. The target stays what it was.
Each gives the rank correlation of the map before and after (worker/trust/correlation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from shared.answer.maps import Stability
from worker.trust.correlation import spearman

MapsOf = Callable[[Tensor], Tensor]
"""N x 3 x S x S inputs -> N x h x w maps, each for the target that was chosen for the unchanged input."""

NOISE = 2 / 255  # standard deviation of the noise, as a share of the pixel range
UNSTABLE = 0.8  # a map whose lowest correlation is below this is called unstable


def stability(maps_of: MapsOf, inputs: Tensor, raw: Tensor, *, std: Sequence[float], seed: int) -> list[Stability]:
    """Stability of the N x h x w maps `raw` of N x 3 x S x S normalised inputs.

    `std` is the normalisation's, which turns the noise's size in pixels into that of the inputs. Noisy values are not
    clipped. All images get the same noise, so that an image's answer does not depend on its batch.
    """
    noisy = spearman(raw, maps_of(with_noise(inputs, std=std, seed=seed)))
    shifted = spearman(*aligned_after_shift(raw, maps_of(shifted_right(inputs)), side=inputs.shape[-1]))
    flipped = spearman(raw, maps_of(inputs.flip(-1)).flip(-1))
    return [of_correlations(*values) for values in zip(noisy, shifted, flipped, strict=True)]


def of_correlations(noise: float | None, shift: float | None, flip: float | None) -> Stability:
    """The record of three rank correlations, -1..1; None where a map has no order."""
    lowest = min((value for value in (noise, shift, flip) if value is not None), default=None)
    return Stability(noise=noise, shift=shift, flip=flip, lowest=lowest, threshold=UNSTABLE, text=_text(lowest))


def _text(lowest: float | None) -> str:
    if lowest is None:
        return "The map points at nothing, so there is no order of its parts that could change."
    kept = "keeps" if lowest >= UNSTABLE else "does not keep"
    return (
        f"The map {kept} its order under faint noise, a shift by one pixel and mirroring: "
        f"the lowest rank correlation is {lowest:.2f} (1: the same order; below {UNSTABLE}: unstable)."
    )


def with_noise(inputs: Tensor, *, std: Sequence[float], seed: int) -> Tensor:
    """Gaussian noise of NOISE of the pixel range on normalised inputs."""
    drawn = torch.randn(inputs.shape[1:], generator=Generator().manual_seed(seed)).to(inputs)
    return inputs + NOISE * drawn / torch.tensor(std).to(inputs).view(-1, 1, 1)


def shifted_right(inputs: Tensor) -> Tensor:
    """Everything one pixel to the right; the first column is doubled, the last is lost."""
    return torch.cat([inputs[..., :1], inputs[..., :-1]], dim=-1)


def aligned_after_shift(raw: Tensor, after: Tensor, *, side: int) -> tuple[Tensor, Tensor]:
    """The cells of two maps that show the same part of the picture. A map of one cell a pixel is shifted back; on a
    coarser grid, where a pixel is less than a cell, both maps are compared as they are."""
    if raw.shape[-1] < side:
        return raw, after
    return raw[..., :-1], after[..., 1:]
