"""Weights of convolutions in the layouts that oneDNN reads fastest."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

FAST_ENOUGH = 2.0  # times the least that a weight has taken: a wrong layout takes three times as much, or thirty
MOST_LAYOUTS = 3


class PackedWeight:
    """The weight of a convolution, in as many layouts as its inputs need.

    Which one is read fastest depends on the number of pictures and of threads. A weight of another layout is reordered
    at each call, which may take thirty times as long as the convolution itself. One layout serves most inputs, and
    oneDNN does not say which: so a layout is timed when an input of a new shape comes, or another number of threads.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        self.geometry = layer.padding, layer.stride, layer.dilation, layer.groups
        self._weight = layer.weight.detach()
        self._layouts: list[Tensor] = []
        self._chosen: dict[tuple[torch.Size, int], Tensor] = {}  # by shape of the input and number of threads
        self._least = math.inf  # seconds of a thread for a number of the input

    def layout_for(self, x: Tensor) -> Tensor:
        """The weight in the layout for this input, N x C x H x W, and this number of threads."""
        case = x.shape, torch.get_num_threads()
        if case not in self._chosen:
            self._chosen[case] = self._choose(x)
        return self._chosen[case]

    def _choose(self, x: Tensor) -> Tensor:
        seconds = []
        for layout in self._layouts:
            seconds.append(self._seconds(layout, x))
            if seconds[-1] <= FAST_ENOUGH * self._least:
                return layout
        if len(self._layouts) == MOST_LAYOUTS:
            return self._layouts[seconds.index(min(seconds))]
        own: Tensor = torch.ops.aten.mkldnn_reorder_conv2d_weight(
            self._weight.to_mkldnn(), *self.geometry, list(x.shape)
        )
        self._seconds(own, x)
        self._layouts.append(own)
        return own

    def _seconds(self, layout: Tensor, x: Tensor) -> float:
        """Of a thread, for a number of the input; the least of all is kept."""
        began = time.perf_counter()
        torch.ops.mkldnn._convolution_pointwise(x, layout, None, *self.geometry, "none", [], "")
        seconds = (time.perf_counter() - began) * torch.get_num_threads() / x.numel()
        self._least = min(self._least, seconds)
        return seconds
