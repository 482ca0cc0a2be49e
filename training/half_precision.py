"""Trained weights as a file in half precision."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def write_in_half_precision(network: nn.Module, path: Path) -> None:
    """Write the weights as fp16 safetensors and read them back, so that what is measured is what is served.

    A tensor with values beyond fp16 (65504) stays as it is. The network keeps its own precision, with the values of the
    file.
    """
    save_file({name: _halved(tensor).cpu().contiguous() for name, tensor in network.state_dict().items()}, path)
    path.chmod(0o644)
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()})


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
