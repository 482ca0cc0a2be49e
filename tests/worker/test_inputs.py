"""Inputs of a network: what it sees of each photograph of a batch, normalised."""

from __future__ import annotations

from dataclasses import replace

import torch
from PIL import Image

from shared.cards import Registry
from worker.inputs import to_tensor, to_tensors, visible_square


def test_a_batch_holds_every_photos_square_in_its_place_normalised(
    photos: dict[str, Image.Image], registry: Registry
) -> None:
    spec = replace(registry.get("nbdt-cifar10").input, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    inputs = to_tensors(list(photos.values()), spec)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    for found, picture in zip(inputs, photos.values(), strict=True):
        levels = torch.from_numpy(visible_square(picture, spec).copy()).permute(2, 0, 1)
        for band, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
            assert torch.equal(found[band], (levels[band] / 255 - mean) / std)
        assert torch.equal(found, to_tensor(picture, spec))
