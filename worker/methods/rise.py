"""RISE (arXiv 1806.07421): which pixels are seen when, under random masks, the class is probable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.passes import CHUNK, Passes

MASKS = 1000
"""Forward passes for one image. With half as many, the maps of two seeds correlated by 0.87 and 0.92."""

GRID = 7
KEEP = 0.5


@torch.no_grad()
def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """One map for each image in full resolution, N x S x S, in probability.

    The paper's map is E[score | pixel seen], the mean of the scores weighted with the masks; here the mean score over
    all masks is subtracted, so that a pixel is positive where seeing it makes the class more probable. The score is the
    probability of the target's classes, less that of the contrast's. All images see the same masks, which depend on the
    seed and the input's size alone.
    """
    inputs = subject.inputs
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same masks on every device
    passes = Passes(subject.network, total=len(inputs) * MASKS, watch=watch)
    weighted = torch.zeros_like(inputs[:, 0])  # N x S x S
    seen = torch.zeros_like(inputs[0, 0])  # S x S
    mean = torch.zeros_like(weighted[:, :1, :1])  # N x 1 x 1
    for start in range(0, MASKS, CHUNK):
        masks = _masks(min(CHUNK, MASKS - start), inputs.shape[-1], generator).to(inputs)  # B x S x S
        seen += masks.sum(0)
        for n, image in enumerate(inputs):
            scores = subject.score[[n]].probabilities(passes.logits(image * masks[:, None]))  # B
            weighted[n] += torch.einsum("b,bhw->hw", scores, masks)
            mean[n] += scores.sum() / MASKS
    return Attribution(weighted / seen - mean, "probability", Guarantee.APPROXIMATE)


def _masks(count: int, side: int, generator: torch.Generator) -> Tensor:
    """count x side x side in [0, 1]: GRID x GRID cells kept or hidden, enlarged smoothly, shifted by up to a cell."""
    cell = -(-side // GRID)
    kept = (torch.rand(count, 1, GRID, GRID, generator=generator) < KEEP).float()
    enlarged = functional.interpolate(kept, size=(GRID + 1) * cell, mode="bilinear", align_corners=False)[:, 0]
    shifts = torch.randint(cell, (count, 2), generator=generator).tolist()
    return torch.stack([mask[y : y + side, x : x + side] for mask, (y, x) in zip(enlarged, shifts, strict=True)])
