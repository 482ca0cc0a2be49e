"""Folding batch norms: the same answers with fewer layers, and nothing is touched that may be more than it seems."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from worker.engine.folding import fold_batch_norms
from worker.engine.networks import NETWORKS

INPUT = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def used(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its batch norms with statistics of real activations and weights of their own."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    network.train()(INPUT)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "left"), [("cifar_resnet", 0), ("efficientnet_lite0", 0), ("resnet18", 0), ("wrn28_10_cifar10", 12)]
)
def test_a_folded_network_answers_the_same_with_fewer_layers(name: str, left: int) -> None:
    """A wide residual network applies batch norm before the convolutions too, where a ReLU stands between."""
    network = used(NETWORKS[name](10))
    before, count, names = network(INPUT), norms(network), [name for name, _ in network.named_modules()]
    assert fold_batch_norms(network) == count - left
    assert norms(network) == left
    assert [name for name, _ in network.named_modules()] == names
    assert torch.allclose(network(INPUT), before, rtol=1e-4, atol=1e-4)


class Shared(nn.Module):
    """One convolution whose output goes two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        both: Tensor = x + self.norm(x)
        return both


class Twice(nn.Module):
    """One convolution that is asked twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(self.conv(x)))
        return y


class Undecided(nn.Module):
    """A network whose way depends on the picture, so that it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x if x.mean() > 0 else -x)
        return y


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrized() -> nn.Module:
    conv = nn.Conv2d(3, 4, 3)
    parametrize.register_parametrization(conv, "weight", Doubled())
    return nn.Sequential(conv, nn.BatchNorm2d(4))


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


@pytest.mark.parametrize("build", [Shared, Twice, Undecided, parametrized, without_statistics])
def test_what_may_be_more_than_a_convolution_and_its_batch_norm_is_left_alone(build: type[nn.Module]) -> None:
    network = used(build())
    before = network(INPUT)
    assert fold_batch_norms(network) == 0
    assert torch.equal(network(INPUT), before)
