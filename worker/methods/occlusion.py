"""Occlusion (arXiv 1311.2901), by captum: how far the score drops when a square of the picture is hidden."""

from __future__ import annotations

from functools import partial

import torch

from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.passes import CHUNK, Passes

STRIDES = 16
"""Steps of the square across the picture's side."""

PATCH = 4
"""Side of the square, in strides."""


@torch.no_grad()
def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """One map for each image, about STRIDES x STRIDES cells, in logits.

    A cell is one stride wide. Its value is the mean drop over all the squares that hide it; hidden is the mean colour.
    """
    from captum.attr import Occlusion  # brings matplotlib, seconds that only who asks for it should wait

    side = subject.inputs.shape[-1]
    stride = max(1, round(side / STRIDES))
    patch = PATCH * stride
    squares = (-(-(side - patch) // stride) + 1) ** 2
    passes = Passes(subject.network, total=len(subject.inputs) * (1 + squares), watch=watch)
    drops = [
        Occlusion(partial(passes.scores, subject.score[[n]])).attribute(
            image[None],
            sliding_window_shapes=(3, patch, patch),
            strides=(3, stride, stride),
            perturbations_per_eval=CHUNK,
        )
        for n, image in enumerate(subject.inputs)
    ]
    cells = torch.cat(drops)[:, 0, ::stride, ::stride]  # the same for all colours, and within a cell
    return Attribution(cells, "logit", Guarantee.APPROXIMATE)
