"""The models a worker process holds: each version loaded once, when first asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from shared.allocator import keep_freed_memory
from shared.cards.card import ModelCard, Registry
from shared.cards.registry import Models
from shared.cores import usable_cores
from worker.algebra.kinship import Kinships
from worker.engine.models import Model
from worker.engine.precision import chooses_bf16

IDLE_SECONDS = 60.0  # after which a replaced or removed version is dropped; accepted jobs may still ask for it


class ModelCache:
    """Loaded models by the fingerprint of their cards. Threads are set from the cores this process may really use, and
    memory is kept between batches, before any torch work."""

    def __init__(self, models: Models, *, share_of_cores: int = 1, precision: str = "auto") -> None:
        self._source = models
        self._precision = precision
        self.kinships = Kinships()
        self._loaded: dict[str, Model] = {}
        self._used: dict[str, float] = {}  # when each was asked for last
        self._cores = usable_cores()
        self.threads = max(1, self._cores // share_of_cores)
        self.take_cores(alone=False)
        keep_freed_memory()

    @property
    def registry(self) -> Registry:
        """The models as they are now."""
        return self._source.current()

    def take_cores(self, *, alone: bool) -> None:
        """Compute on all cores from now on, or on this process's share of them."""
        torch.set_num_threads(self._cores if alone else self.threads)

    def cards(self, names: Sequence[str], versions: Mapping[str, str]) -> dict[str, ModelCard]:
        """The cards of a job's models, as they were when it was accepted. Raises as `LiveRegistry.of_version`."""
        return {name: self._source.of_version(name, versions.get(name)) for name in names}

    def get(self, name: str) -> Model:
        """The loaded model, as it is now. Raises as `load`."""
        return self.load(self.registry.ready(name))

    def load(self, card: ModelCard) -> Model:
        """The loaded model. Raises ModelUnavailable naming the remedy where it cannot be loaded."""
        key = card.fingerprint
        self._used[key] = time.monotonic()
        if key not in self._loaded:
            device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
            bf16 = chooses_bf16(card, asked=self._precision, device=device)
            self._loaded[key] = Model.load(card, device=device, bf16=bf16)
        return self._loaded[key]

    def drop_retired(self) -> None:
        """Let go of versions that were replaced or removed and that nobody has asked for lately."""
        current = {card.fingerprint for card in self.registry.cards.values()}
        for key in self._loaded.keys() - current:
            if time.monotonic() - self._used[key] > IDLE_SECONDS:
                del self._loaded[key], self._used[key]
