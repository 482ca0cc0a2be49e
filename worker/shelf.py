"""The models a worker process holds: each loaded once, when first asked for."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from shared.cards import Registry
from worker.allocator import keep_freed_memory
from worker.models import Model
from worker.precision import chooses_bf16

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores this process may really use: those it may run on, less what a container's quota takes away."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text("ascii").split()
        return allowed if share == "max" else max(1, min(allowed, int(share) // int(period)))
    except (OSError, ValueError):
        return allowed


class Shelf:
    """Loaded models by name. Threads are set from the cores this process may really use, and memory is kept between
    batches, before any torch work."""

    def __init__(self, registry: Registry, *, share_of_cores: int = 1, precision: str = "auto") -> None:
        self._registry = registry
        self._precision = precision
        self._models: dict[str, Model] = {}
        self.threads = max(1, usable_cores() // share_of_cores)
        torch.set_num_threads(self.threads)
        keep_freed_memory()

    @property
    def registry(self) -> Registry:
        return self._registry

    def get(self, name: str) -> Model:
        """The loaded model. Raises ModelUnavailable naming the remedy where it cannot be loaded."""
        if name not in self._models:
            device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
            card = self._registry.ready(name)
            bf16 = chooses_bf16(card, asked=self._precision, device=device)
            self._models[name] = Model.load(card, device=device, bf16=bf16)
        return self._models[name]
