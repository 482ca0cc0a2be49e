"""The number formats that a device multiplies in hardware."""

from __future__ import annotations

import torch


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bf16; where it does not, bf16 is many times slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
