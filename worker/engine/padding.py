"""Padding that a convolution does by itself, instead of a layer that copies the whole picture for a row of zeros."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def widen(convolution: nn.Conv2d, zeros: Sequence[int]) -> nn.Conv2d | None:
    """The convolution that gives of an input what this one gives of it with zeros around it, so many on the left, on
    the right, above and below. torch pads both sides alike: where they differ, the kernel gets zeros on the other side.

    None for a convolution that is not depthwise, for which more zeros cost more than a copy, and where its kernel
    cannot be widened.
    """
    if convolution.groups != convolution.in_channels or convolution.padding_mode != "zeros" or min(zeros) < 0:
        return None
    if isinstance(convolution.padding, str) or convolution.dilation != (1, 1):
        return None
    left, right, above, below = zeros
    columns, rows = abs(right - left), abs(below - above)
    height, width = convolution.kernel_size
    wide = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (height + rows, width + columns),
        stride=convolution.stride,  # type: ignore[arg-type]  # a pair, whatever it was made from
        padding=(convolution.padding[0] + max(above, below), convolution.padding[1] + max(left, right)),
        groups=convolution.groups,
        bias=False,
    )
    before, after = (max(0, right - left), max(0, left - right)), (max(0, below - above), max(0, above - below))
    wide.weight = nn.Parameter(nn.functional.pad(convolution.weight, before + after), requires_grad=False)
    wide.bias = convolution.bias
    return wide.eval()
