"""Small networks, their pictures, and what is asked of them: what the tests of all methods share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.algebra.maps import logits_of
from worker.algebra.score import Score
from worker.methods.attribution import LinearHead, Network, Subject

SIDE = 32
RED, GREEN, BLUE = 0, 1, 2
BLOCKS = {
    RED: (slice(4, 12), slice(20, 28)),
    GREEN: (slice(20, 28), slice(12, 20)),
    BLUE: (slice(24, 32), slice(24, 32)),
}
"""Rows and columns in pixels. No place is the transpose or the mirror image of another."""


@dataclass(frozen=True)
class Small:
    """A trunk and a linear head behind global average pooling."""

    trunk: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        return logits_of(features, self.weight, self.bias)


def silent(done: int, total: int) -> None:
    pass


def planted() -> Small:
    """A network whose evidence is known: the first class is red that is not green, the second green that is not red,
    the third blue. The logit of each is 5 where its whole block of `blocks()` is seen."""
    mix = nn.Conv2d(3, 3, 1, bias=False)
    mix.weight.data = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 1]]).view(3, 3, 1, 1)
    trunk = nn.Sequential(mix, nn.ReLU(), nn.AvgPool2d(4)).eval().requires_grad_(False)
    return Small(trunk, 40 * torch.eye(3), torch.tensor([0.25, -0.5, 0.0]))


def blocks() -> Tensor:
    """1 x 3 x SIDE x SIDE: a block of each colour on the mean colour."""
    picture = torch.zeros(1, 3, SIDE, SIDE)
    for colour, (rows, columns) in BLOCKS.items():
        picture[0, colour, rows, columns] = 2
    return picture


def seeded(*, channels: int = 6, classes: int = 4, gain: float = 1.0) -> Small:
    """Two strided convolutions with ReLU, 8 x 8 cells, and a head of weights about `gain`, the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, channels, 3, stride=2, padding=1))
        trunk = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU()).eval().requires_grad_(False)
        return Small(trunk, gain * torch.randn(classes, channels), torch.randn(classes))


def noise(count: int) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def subject_of(network: LinearHead, inputs: Tensor, targets: list[int], contrast: int | None = None) -> Subject:
    """One target for each image, and one class that all are contrasted with."""
    contrasts = [[] if contrast is None else [contrast]] * len(targets)
    return about(network, inputs, [[target] for target in targets], contrasts)


def about(network: Network, inputs: Tensor, targets: list[list[int]], contrasts: list[list[int]]) -> Subject:
    """One group of classes for each image, and one that it is contrasted with, or an empty one."""
    features = network.trunk(inputs)
    logits = network.logits(features)
    score = Score.of(targets, contrasts, class_count=logits.shape[1])
    return Subject(network, inputs, features, logits, score)


def whole(network: LinearHead) -> nn.Sequential:
    """One module of trunk, pooling and linear layer, as other libraries want it."""
    assert isinstance(network.trunk, nn.Module)
    head = nn.Linear(network.weight.shape[1], network.weight.shape[0])
    head.weight.data, head.bias.data = network.weight, network.bias
    parts = {"trunk": network.trunk, "pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": head}
    return nn.Sequential(OrderedDict(parts)).eval()
