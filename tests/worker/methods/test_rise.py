"""RISE: its masks, its seeds, and a score that its maps must recover."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tests.worker.methods.subjects import RED, blocks, noise, planted, seeded, silent, subject_of
from worker.methods.passes import CHUNK
from worker.methods.rise import KEEP, MASKS, _masks
from worker.methods.rise import attribute as rise


def test_masks_keep_half_of_every_place_and_hide_smoothly() -> None:
    masks = _masks(2000, 32, torch.Generator().manual_seed(0))
    assert masks.shape == (2000, 32, 32)
    assert masks.min() >= 0 and masks.max() <= 1
    assert torch.allclose(masks.mean(0), torch.full((32, 32), KEEP), atol=0.06)
    assert (masks[:, 1:] - masks[:, :-1]).abs().max() < 0.5


def test_another_seed_draws_other_masks_and_agrees_on_the_place() -> None:
    subject = subject_of(planted(), blocks(), [RED])
    first, second = (rise(subject, seed=seed, watch=silent).maps[0] for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] > 0.8


def test_every_image_sees_the_masks_of_the_seed() -> None:
    seen: list[Tensor] = []

    def trunk(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return network.trunk(inputs)

    network = seeded()
    ones = torch.ones(2, 3, 32, 32)
    subject = subject_of(network, ones, [0, 1])
    rise(replace(subject, network=replace(network, trunk=trunk)), seed=3, watch=silent)
    assert sum(map(len, seen)) == 2 * MASKS
    assert all(torch.equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))
    assert torch.equal(seen[0][:, 0], _masks(CHUNK, 32, torch.Generator().manual_seed(3)))


def test_a_picture_that_looks_the_same_under_every_mask_has_an_empty_map() -> None:
    raw = rise(subject_of(seeded(), torch.zeros_like(noise(1)), [2]), seed=0, watch=silent).maps
    assert raw.abs().max() < 1e-6
