"""The rig's own measures on planted cases: the controls that must fail do, and a method that is right passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.quality import contrast, randomisation, stability
from shared.cards.card import Registry
from worker.engine.models import Model

CIFAR = "nbdt-cifar10"


@pytest.fixture(scope="session")
def model(registry: Registry) -> Model:
    return Model.load(registry.get(CIFAR))


@pytest.fixture(scope="session")
def pictures() -> Tensor:
    """Smooth noise, normalised."""
    coarse = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=32, mode="bilinear", align_corners=False)


def test_an_edge_detector_is_flagged_and_a_map_of_noise_is_not(model: Model, pictures: Tensor) -> None:
    def nothing(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
        seed = int(model.weight.sum() * 1e6) % 2**31
        return torch.randn(len(inputs), 16, 16, generator=torch.Generator().manual_seed(seed))

    twins = [randomisation.fresh(model, seed=seed) for seed in range(2)]
    targets = torch.zeros(len(pictures), dtype=torch.long)
    edges, _ = randomisation.compare(randomisation.edges, model, twins, pictures, targets)
    noise, _ = randomisation.compare(nothing, model, twins, pictures, targets)
    assert edges.shape == (4, 2)
    assert randomisation.size_of_mean(edges) == pytest.approx(1)
    assert randomisation.size_of_mean(noise) < randomisation.DEPENDS


def test_a_fresh_network_has_other_weights_for_each_seed_and_the_same_for_the_same(model: Model) -> None:
    first, again, other = (randomisation.fresh(model, seed=seed).weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, model.weight)


def test_the_entropy_of_a_map_rises_with_the_variety_of_its_values() -> None:
    constant, halves = torch.zeros(8, 8), torch.zeros(8, 8)
    halves[:4] = 1
    noise = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    low, middle, high = randomisation.entropies(torch.stack([constant, halves, noise]))
    assert low == 0 < middle < high


def test_the_masked_pixels_are_the_highest() -> None:
    raw = torch.arange(400.0).reshape(1, 20, 20)
    mask = contrast.top_pixels(raw)
    assert mask.sum() == 20
    assert mask[0, 19].all()


def test_a_correlation_that_falls_before_every_unstable_map_foretells_it() -> None:
    assert stability.foretelling(np.array([[0.2, 1], [0.3, 1], [0.8, 0], [0.9, 0]])) == 1
    assert stability.foretelling(np.array([[0.8, 1], [0.9, 1], [0.2, 0], [0.3, 0]])) == 0
    assert np.isnan(stability.foretelling(np.array([[0.2, 1], [0.3, 1]])))
