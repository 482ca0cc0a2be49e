"""Trunk and head are found by what a network computes, whatever its parts are called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.cards.methods import NO_FEATURE_MAP, OTHER_HEAD, POOLED_LINEAR
from shared.errors import ModelUnavailable
from worker.engine.anatomy import Anatomy, PooledLinear, dissect
from worker.engine.architectures import build

SIZE = 32
CLASSES = 10


class Sketch(nn.Module):
    """Two convolutions, then whatever `end` makes of the feature map; all parts have the usual names."""

    def __init__(self, end: Callable[[Sketch, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.layer4 = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, CLASSES)
        self.hidden = nn.Sequential(nn.Linear(8, 8), nn.Hardswish(inplace=True), nn.Dropout(0.5))
        self.wide = nn.Linear(8 * 64, CLASSES)
        self.conv = nn.Conv2d(8, CLASSES, 1)
        self.norm = nn.LayerNorm(8)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self, self.layer4(self.layer1(x)))


def sketch(end: Callable[[Sketch, Tensor], Tensor]) -> Sketch:
    torch.manual_seed(0)
    network = Sketch(end).eval().requires_grad_(False)
    network(torch.randn(16, 3, SIZE, SIZE))
    return network


def agrees(network: nn.Module, parts: Anatomy, *, size: int = SIZE) -> bool:
    """On other pictures, and on another number of them, than those of the search."""
    inputs = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(7))
    return torch.allclose(parts.head(parts.trunk(inputs)), network(inputs), atol=1e-5)


LINEAR: dict[str, Callable[[Sketch, Tensor], Tensor]] = {
    "module": lambda n, f: n.fc(n.avgpool(f).flatten(1)),
    "function": lambda n, f: n.fc(torch.flatten(functional.adaptive_avg_pool2d(f, 1), 1)),
    "mean": lambda n, f: n.fc(f.mean((2, 3))),
    "whole map": lambda n, f: n.fc(functional.avg_pool2d(f, 8).view(f.size(0), -1)),
    "dropout": lambda n, f: n.fc(functional.dropout(n.avgpool(f).squeeze(3).squeeze(2), 0.5, n.training)),
    "last ReLU": lambda n, f: n.fc(functional.relu(f - 1, inplace=True).mean((2, 3))),
    "convolution behind": lambda n, f: n.conv(n.avgpool(f)).flatten(1),
    "convolution before": lambda n, f: n.avgpool(n.conv(f)).flatten(1),
}

OTHER: dict[str, Callable[[Sketch, Tensor], Tensor]] = {
    "two layers": lambda n, f: n.fc(n.hidden(n.avgpool(f).flatten(1))),
    "flattened map": lambda n, f: n.wide(f.flatten(1)),
    "normalised": lambda n, f: n.fc(n.norm(n.avgpool(f).flatten(1))),
    "maximum called avgpool": lambda n, f: n.fc(f.amax((2, 3))),
    "sum": lambda n, f: n.fc(f.sum((2, 3))),
    "ReLU behind fc": lambda n, f: functional.relu(n.fc(n.avgpool(f).flatten(1))),
    "two poolings": lambda n, f: n.fc(n.avgpool(f).flatten(1) + f.amax((2, 3))),
}

NONE: dict[str, Callable[[Sketch, Tensor], Tensor]] = {
    "way decided by values": lambda n, f: n.fc(f.mean((2, 3))) if f.sum() > 0 else n.conv(f).mean((2, 3)),
}


@pytest.mark.parametrize("name", LINEAR)
def test_pooling_and_one_linear_layer_are_found_however_they_are_written(name: str) -> None:
    network = sketch(LINEAR[name])
    parts = dissect(network, size=SIZE)
    assert parts.kind == POOLED_LINEAR and isinstance(parts.head, PooledLinear)
    assert parts.trunk(torch.zeros(1, 3, SIZE, SIZE)).shape[2:] == (8, 8)
    assert agrees(network, parts)


@pytest.mark.parametrize("name", OTHER)
def test_anything_else_behind_the_feature_map_is_no_linear_head_whatever_it_is_called(name: str) -> None:
    network = sketch(OTHER[name])
    parts = dissect(network, size=SIZE)
    assert parts.kind == OTHER_HEAD and parts.layer == "layer4"
    assert agrees(network, parts)
    with pytest.raises(ModelUnavailable, match="has not the pooled-linear head that its card names"):
        dissect(network, size=SIZE, kind=POOLED_LINEAR)


@pytest.mark.parametrize("name", NONE)
def test_a_network_that_cannot_be_traced_is_taken_as_one_whole(name: str) -> None:
    network = sketch(NONE[name])
    parts = dissect(network, size=SIZE)
    assert (parts.kind, parts.layer) == (NO_FEATURE_MAP, "input")
    assert agrees(network, parts)


def test_a_map_that_the_answer_goes_past_is_none() -> None:
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)
            self.fc = nn.Linear(4 + 3, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.fc(torch.cat([self.conv(x).mean((2, 3)), x.mean((2, 3))], 1))
            return out

    assert dissect(Bypass().eval(), size=SIZE).kind == NO_FEATURE_MAP


@pytest.mark.parametrize(
    ("architecture", "size", "kind", "layer"),
    [
        ("resnet18", 64, POOLED_LINEAR, "layer4"),
        ("torchvision/mobilenet_v3_small", 64, OTHER_HEAD, "features"),
        ("torchvision/squeezenet1_1", 64, POOLED_LINEAR, "classifier.2"),
        ("torchvision/densenet121", 64, POOLED_LINEAR, "relu"),
        ("pytorchcv/resnet20_cifar10", 32, POOLED_LINEAR, "features.stage3"),
        ("pytorchcv/mobilenetv3_small_w7d20", 224, OTHER_HEAD, "features.final_block"),
        ("timm/test_resnet", 64, POOLED_LINEAR, "layer4"),
        ("timm/test_vit", 160, NO_FEATURE_MAP, "input"),
    ],
)
def test_the_parts_of_networks_of_other_projects(architecture: str, size: int, kind: str, layer: str) -> None:
    torch.manual_seed(0)
    network = build(architecture, CLASSES).eval().requires_grad_(False)
    parts = dissect(network, size=size)
    assert (parts.kind, parts.layer) == (kind, layer)
    assert agrees(network, parts, size=size)


def test_the_head_lets_gradients_through_to_the_feature_map_and_leaves_the_map_as_it_was() -> None:
    parts = dissect(sketch(OTHER["two layers"]), size=SIZE)
    features = parts.trunk(torch.randn(2, 3, SIZE, SIZE)).clone().requires_grad_()
    before = features.detach().clone()
    (gradient,) = torch.autograd.grad(parts.head(features).sum(), features)
    assert gradient.abs().sum() > 0
    assert torch.equal(features.detach(), before)


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (lambda n, f: (n.fc(f.mean((2, 3))), f), "is no classifier: it does not give one score for each class"),
        (lambda n, f: f, "is no classifier"),
        (lambda n, f: n.fc(f.mean((2, 3))) / 0, "gives scores that are not finite; its weights are damaged"),
        (lambda n, f: n.fc(f.flatten(1)), "cannot take pictures of 32 pixels .*; give another input size"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_sentence(
    end: Callable[[Sketch, Tensor], Tensor], sentence: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelUnavailable, match=sentence):
        dissect(Sketch(end).eval(), size=SIZE)
