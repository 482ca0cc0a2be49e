"""Score-CAM against torchcam, and what it saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

import worker.engine.vision  # noqa: F401 - before torchcam, which imports torchvision
from tests.worker.methods.subjects import Small, noise, seeded, silent, subject_of, whole
from worker.engine.models import Model
from worker.methods.attribution import LinearHead, Subject
from worker.methods.scorecam import attribute as scorecam

COUNT = 24


def torchcam_maps(network: LinearHead, subject: Subject) -> Tensor:
    from torchcam.methods import ScoreCAM

    model = whole(network)
    with ScoreCAM(model, "trunk") as extractor, torch.no_grad():
        model(subject.inputs)
        found: Tensor = extractor(subject.score.target.int().argmax(1).tolist(), normalized=False)[0]
    return found


def test_maps_are_torchcams_for_a_target_of_each_image() -> None:
    network = seeded(channels=12)
    subject = subject_of(network, noise(3), [0, 3, 1])
    ours = scorecam(subject, seed=0, watch=silent).maps
    assert torch.allclose(ours, torchcam_maps(network, subject), rtol=1e-4, atol=1e-6)


class FirstChannels(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features[:, :COUNT]


def test_the_map_of_a_photograph_is_torchcams(load: Callable[[str], Model], ask: Callable[..., Subject]) -> None:
    """On the first channels of a real network, to be quick."""
    model = load("nbdt-cifar10")
    network = Small(nn.Sequential(model.trunk, FirstChannels()), model.weight[:, :COUNT].contiguous(), model.bias)
    asked = ask(model, "chelsea", "coffee")
    subject = replace(asked, network=network, features=asked.features[:, :COUNT])
    ours = scorecam(subject, seed=0, watch=silent).maps
    assert torch.allclose(ours, torchcam_maps(network, subject), rtol=1e-3, atol=1e-6)


def test_channels_without_a_place_cost_one_pass_in_all_and_change_nothing() -> None:
    network = seeded(channels=12)

    def trunk(inputs: Tensor) -> Tensor:
        features = network.trunk(inputs).clone()
        features[:, 3:9] = torch.arange(6.0).view(1, 6, 1, 1)
        return features

    class Trunk(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return trunk(inputs)

    part = replace(network, trunk=Trunk())
    subject, totals = subject_of(part, noise(2), [1, 2]), set()
    ours = scorecam(subject, seed=0, watch=lambda done, total: totals.add(total)).maps
    assert totals == {1 + 2 * 6}
    assert torch.allclose(ours, torchcam_maps(part, subject), rtol=1e-4, atol=1e-6)


def test_a_contrast_is_the_difference_of_two_maps() -> None:
    network = seeded()
    first, second, both = (
        scorecam(subject_of(network, noise(2), targets, contrast), seed=0, watch=silent).maps
        for targets, contrast in (([0, 1], None), ([2, 2], None), ([0, 1], 2))
    )
    assert torch.allclose(first - second, both, atol=1e-6)
