"""The project's own networks, by the names that its model cards give them.

Every network here has the shape that makes class activation maps exact: a trunk (N x 3 x H x W -> N x D x h x w),
global average pooling, and one linear layer. torchvision's modules keep their own names, so that upstream weights load.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from worker.engine.efficientnet import EfficientNetLite0
from worker.engine.vision import resnet


class Residual(nn.Module):
    """x + two 3x3 convolutions, each with batch norm and ReLU, so that the sum of non-negative maps stays so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_unit(channels, channels), *conv_unit(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


class MirrorAverage(nn.Module):
    """In evaluation mode, the mean of a picture's feature map and its mirror image's (mirrored back): both are seen
    alike. What follows it stays pooling and one linear layer, so maps stay exact. In training mode, one view."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            one_view: Tensor = self.layers(x)
            return one_view
        straight, mirrored = self.layers(torch.cat([x, x.flip(3)])).chunk(2)
        both: Tensor = (straight + mirrored.flip(3)) / 2
        return both


class CifarResNet(nn.Module):
    """A shallow, wide residual network for 32-pixel pictures with an 8 x 8 feature map before pooling.

    After D. Page's and K. Jordan's fast CIFAR-10 networks: a whitening convolution, few wide layers, two poolings.
    """

    def __init__(self, class_count: int) -> None:
        super().__init__()
        layers = nn.Sequential(
            *conv_unit(3, 32),
            *conv_unit(32, 64),
            nn.MaxPool2d(2),
            Residual(64),
            *conv_unit(64, 256),
            nn.MaxPool2d(2),
            Residual(256),
        )
        self.trunk = MirrorAverage(layers)
        self.fc = nn.Linear(256, class_count)

    @property
    def stem(self) -> nn.Conv2d:
        """The first convolution."""
        stem = self.trunk.layers.get_submodule("0")
        assert isinstance(stem, nn.Conv2d)
        return stem

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.trunk(x).mean((2, 3)))
        return out


def conv_unit(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A 3 x 3 convolution that keeps the size, batch normalisation and ReLU."""
    return (
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def resnet18(class_count: int) -> nn.Module:
    """torchvision's ResNet-18, with random weights."""
    network: nn.Module = resnet.resnet18(num_classes=class_count)
    return network


def resnet18_fine(class_count: int) -> nn.Module:
    """torchvision's resnet18 with its last stage at stride 1: four times the cells in its map, the same weights."""
    network = resnet18(class_count)
    for name in ("layer4.0.conv1", "layer4.0.downsample.0"):
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        layer.stride = (1, 1)
    return network


def wrn28_10_cifar10(class_count: int) -> nn.Module:
    """pytorchcv's WRN-28-10 for 32 x 32 images, with random weights."""
    from pytorchcv.models.wrn_cifar import get_wrn_cifar

    network: nn.Module = get_wrn_cifar(num_classes=class_count, blocks=28, width_factor=10)
    return network


NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "cifar_resnet": CifarResNet,
    "efficientnet_lite0": EfficientNetLite0,
    "resnet18": resnet18,
    "resnet18_fine": resnet18_fine,
    "wrn28_10_cifar10": wrn28_10_cifar10,
}


def whitening_filters(pictures: Tensor, count: int) -> Tensor:
    """Filters whose answers on 3 x 3 patches of `pictures` (N x 3 x H x W) have unit variance and no correlation.

    Returns count x 3 x 3 x 3: the leading eigenvectors of the patch covariance, each with its negative.
    """
    patches = pictures.unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 27).double()
    centred = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    leading = (vectors / (values + 5e-4).sqrt()).T.flip(0)[: count // 2]
    return torch.cat([leading, -leading]).reshape(count, 3, 3, 3).float()
