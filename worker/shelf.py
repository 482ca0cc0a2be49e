"""The models a worker process holds: each loaded once, when first asked for."""

from __future__ import annotations

import torch

from shared.cards import Registry
from shared.cores import usable_cores
from worker.allocator import keep_freed_memory
from worker.models import Model
from worker.precision import chooses_bf16


class Shelf:
    """Loaded models by name. Threads are set from the cores this process may really use, and memory is kept between
    batches, before any torch work."""

    def __init__(self, registry: Registry, *, share_of_cores: int = 1, precision: str = "auto") -> None:
        self._registry = registry
        self._precision = precision
        self._models: dict[str, Model] = {}
        self._cores = usable_cores()
        self.threads = max(1, self._cores // share_of_cores)
        self.take_cores(alone=False)
        keep_freed_memory()

    @property
    def registry(self) -> Registry:
        return self._registry

    def take_cores(self, *, alone: bool) -> None:
        """Compute on all cores from now on, or on this process's share of them."""
        torch.set_num_threads(self._cores if alone else self.threads)

    def get(self, name: str) -> Model:
        """The loaded model. Raises ModelUnavailable naming the remedy where it cannot be loaded."""
        if name not in self._models:
            device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
            card = self._registry.ready(name)
            bf16 = chooses_bf16(card, asked=self._precision, device=device)
            self._models[name] = Model.load(card, device=device, bf16=bf16)
        return self._models[name]
