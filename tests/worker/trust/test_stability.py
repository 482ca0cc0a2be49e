"""Stability: a smooth way from input to map is stable, an erratic one is not, and a mirrored map is mirrored back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.trust.stability import NOISE, UNSTABLE, of_correlations, shifted_right, stability, with_noise

STD = (0.2, 0.3, 0.4)


def inputs(count: int = 3) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, size=32, mode="bilinear")


def brightness(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x.mean(1), 4)


def test_a_map_of_the_brightness_is_stable() -> None:
    for found in stability(brightness, inputs(), brightness(inputs()), std=STD, seed=0):
        assert found.lowest is not None and found.lowest >= UNSTABLE and found.flip == pytest.approx(1)
        assert found.noise is not None and found.noise > 0.95
        assert found.shift is not None and found.shift > 0.9
        assert "keeps its order" in found.text


def test_an_erratic_map_is_unstable() -> None:
    def erratic(x: Tensor) -> Tensor:
        return (brightness(x) * 1e6).sin()

    for found in stability(erratic, inputs(), erratic(inputs()), std=STD, seed=0):
        assert found.lowest is not None and found.lowest < UNSTABLE
        assert "does not keep its order" in found.text


def test_a_map_that_ignores_mirroring_is_told_apart_by_the_flip_alone() -> None:
    ramp = torch.arange(64.0).view(1, 8, 8)

    def stubborn(x: Tensor) -> Tensor:
        return ramp.expand(len(x), 8, 8)

    found = stability(stubborn, inputs(1), stubborn(inputs(1)), std=STD, seed=0)[0]
    assert found.noise == found.shift == pytest.approx(1)
    assert found.flip is not None and found.flip < 1 and found.lowest == found.flip


def test_a_map_of_single_pixels_is_shifted_back() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    found = stability(lambda x: x.mean(1), picture, picture.mean(1), std=STD, seed=0)[0]
    assert found.shift == pytest.approx(1)


def test_an_image_gets_the_same_alone_and_in_a_batch_and_with_the_same_seed() -> None:
    def erratic(x: Tensor) -> Tensor:
        return (brightness(x) * 1e3).sin()

    x = inputs()
    together = stability(erratic, x, erratic(x), std=STD, seed=4)
    alone = stability(erratic, x[1:2], erratic(x[1:2]), std=STD, seed=4)[0]
    assert together[1].noise == pytest.approx(alone.noise)
    assert together != stability(erratic, x, erratic(x), std=STD, seed=5)


def test_the_noise_has_its_stated_size_in_pixels_not_in_normalised_units() -> None:
    added = with_noise(torch.zeros(1, 3, 100, 100), std=STD, seed=0)[0] * torch.tensor(STD).view(3, 1, 1)
    assert added.std((1, 2)).tolist() == pytest.approx([NOISE] * 3, rel=0.05)


def test_a_shift_moves_one_pixel_and_doubles_the_border() -> None:
    row = torch.arange(5.0).expand(1, 3, 2, 5)
    assert shifted_right(row)[0, 0, 0].tolist() == [0, 0, 1, 2, 3]


def test_a_constant_map_has_no_stability_and_says_so() -> None:
    flat = torch.zeros(2, 7, 7)
    for found in stability(lambda x: torch.zeros(len(x), 7, 7), inputs(2), flat, std=STD, seed=0):
        assert found == of_correlations(None, None, None)
        assert found.lowest is None
        assert "points at nothing" in found.text
        assert found.to_dict()["lowest"] is None
