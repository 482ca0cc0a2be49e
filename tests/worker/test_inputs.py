"""Inputs of a network: what it sees of each photograph of a batch, normalised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from shared.cards.card import Registry
from shared.images.decode import Limits, Photo, decode, decode_reduced
from shared.images.seeing import visible_square
from shared.settings import Settings
from worker.engine.inputs import to_tensor, to_tensors


def test_a_batch_holds_every_photos_square_in_its_place_normalised(
    photos: dict[str, Image.Image], registry: Registry
) -> None:
    spec = replace(registry.get("nbdt-cifar10").input, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    inputs = to_tensors([Photo.whole(picture) for picture in photos.values()], spec)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    for found, picture in zip(inputs, photos.values(), strict=True):
        levels = torch.from_numpy(visible_square(Photo.whole(picture), spec).copy()).permute(2, 0, 1)
        for band, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
            assert torch.equal(found[band], (levels[band] / 255 - mean) / std)
        assert torch.equal(found, to_tensor(picture, spec))


@pytest.mark.parametrize("name", ["nbdt-cifar10", "resnet18-imagenet"])
def test_a_network_sees_the_same_of_a_large_photograph_read_with_fewer_pixels(
    name: str, registry: Registry, large_photo: bytes
) -> None:
    spec, limits = registry.get(name).input, Limits.of(Settings())
    seen = [
        visible_square(photo, spec).astype(int)
        for photo in (Photo.whole(decode(large_photo, limits)), decode_reduced(large_photo, limits))
    ]
    assert np.abs(seen[0] - seen[1]).max() <= 2, "of 255 levels"
