"""Occlusion against squares hidden one by one."""

from __future__ import annotations

import pytest
import torch

from tests.worker.methods.subjects import SIDE, noise, seeded, silent, subject_of
from worker.methods.occlusion import PATCH, STRIDES
from worker.methods.occlusion import attribute as occlusion


@pytest.mark.parametrize("side", [SIDE, 50, 8])
def test_a_cell_is_the_mean_drop_over_the_squares_that_hide_it(side: int) -> None:
    network, inputs = seeded(), torch.nn.functional.interpolate(noise(1), size=side)
    subject = subject_of(network, inputs, [1], 2)
    stride = max(1, round(side / STRIDES))
    patch, drops, squares = PATCH * stride, torch.zeros(side, side), torch.zeros(side, side)
    for row in range(0, side - patch + stride, stride):
        for column in range(0, side - patch + stride, stride):
            hidden = inputs.clone()
            hidden[:, :, row : row + patch, column : column + patch] = 0
            drop = subject.scores - subject.score.of_logits(network.logits(network.trunk(hidden)))
            drops[row : row + patch, column : column + patch] += drop
            squares[row : row + patch, column : column + patch] += 1
    raw = occlusion(subject, seed=0, watch=silent).maps[0]
    assert torch.allclose(raw, (drops / squares)[::stride, ::stride], atol=1e-5)
