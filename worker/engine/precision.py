"""The number format of a trunk: fp32, or bf16 where the hardware multiplies in it and the answers stay the same."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from shared.cards.card import ModelCard

log = logging.getLogger(__name__)


class InBf16(nn.Module):
    """A trunk in bf16, between fp32 pictures and fp32 features. Whatever is made of the features is made
    in fp32, so that certificates hold to the tolerance of fp32."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(x.to(torch.bfloat16))
        return features.float()


def chooses_bf16(card: ModelCard, *, asked: str, device: torch.device) -> bool:
    """Whether a model's trunk is to run in bf16. `asked` is fp32, bf16, or auto: bf16 where the hardware has it and the
    card says that it passed the gate (`training/precision.py`)."""
    if asked == "auto":
        return card.bf16 is not None and card.bf16.passed and computes_bf16(device)
    if asked == "bf16" and not computes_bf16(device):
        log.warning("PATHLIGHT_PRECISION is bf16, which this processor does not multiply: expect it to be slow")
    return asked == "bf16"


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bf16; where it does not, bf16 is many times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    in_hardware = any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return in_hardware and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
