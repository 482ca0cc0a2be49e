"""Counts that a process keeps by itself and adds to the store now and then: requests, stages of a batch."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Mapping

from shared.errors import StoreUnavailable
from shared.store.job_store import JobStore

log = logging.getLogger(__name__)


class Counters:
    """What this process has counted and not yet added to the store. Threads may share it."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._sending = threading.Lock()  # one at a time
        self._unsent: Counter[str] | None = None
        self._operation = ""

    def count(self, amounts: Mapping[str, int]) -> None:
        """Add amounts by name (shared/store/overview.py)."""
        with self._lock:
            self._counted.update(amounts)

    def flush(self) -> None:
        """Add to the store what came together. Raises StoreUnavailable, and loses nothing."""
        with self._sending:
            if self._unsent is None:
                with self._lock:
                    self._unsent, self._counted = self._counted, Counter()
                self._operation = secrets.token_hex(8)
            # Sent again after a reply that was lost, it is still the same operation, and counts once.
            if self._unsent:
                self._store.add(self._unsent, operation=self._operation)
            self._unsent = None

    def try_to_flush(self) -> None:
        """The same, at a later time where the store is away."""
        try:
            self.flush()
        except StoreUnavailable as error:
            log.warning("counts could not be added to the store yet: %s", error)
