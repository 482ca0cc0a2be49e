"""Housekeeping of the job store: reap lost leases, forget what has expired, ring for whatever still waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from shared.blobs.blob_store import BlobStore, Swept
from shared.errors import AlreadyRunning, InvalidSetting, ModelUnavailable
from shared.jobs import Lane
from shared.settings import Settings
from shared.store import retired
from shared.store.job_store import JobStore

log = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0  # from one look for abandoned blobs to the next


class Keeper:
    """One pass of housekeeping per call. Safe to run in many processes at once."""

    def __init__(self, store: JobStore, blobs: BlobStore, settings: Settings, *, ring: Callable[[], None]) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._ring = ring
        self._clocks: tuple[float, float] | None = None  # Redis time and monotonic time of the last pass
        self._swept = time.monotonic()
        self._unserved: tuple[str, ...] = ()  # what the log said last of jobs that nobody takes

    def run(self) -> None:
        """One pass: reap, forget, sweep where it is time, and ring for what still waits. Raises StoreUnavailable."""
        if self._clocks_agree():
            self._store.reap()
            for _, unnamed in self._store.collected():
                self._blobs.remove(unnamed, self._store.referenced)
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.sweep(older_than=self._settings.blob_grace_seconds)
            self.sweep_models(older_than=self._settings.blob_grace_seconds)
        self._report_unserved()
        if any(self._store.waiting(lane) for lane in Lane):
            self._ring()

    def sweep(self, *, older_than: float) -> Swept:
        """Remove blobs that no job names and nobody wanted for so many seconds; nothing where another is at it."""
        try:
            return self._blobs.sweep(self._store.referenced, older_than=older_than)
        except AlreadyRunning as error:
            log.info("%s", error)
            return Swept()

    def sweep_models(self, *, older_than: float) -> Swept:
        """Remove versions of models that were replaced or removed so many seconds ago and that no unfinished job names;
        nothing where the models cannot be read."""
        try:
            return retired.sweep(self._settings, self._store.versions_named, older_than=older_than)
        except (AlreadyRunning, InvalidSetting, ModelUnavailable, OSError) as error:
            log.warning("replaced models were left where they are: %s", error)
            return Swept()

    def _report_unserved(self) -> None:
        """Say once of which models jobs wait that no worker takes; they wait on, and keep nobody else waiting."""
        lacking = tuple(sorted({", ".join(one.models) for one in self._store.pools.staff().unserved}))
        if lacking != self._unserved:
            for models in lacking:
                log.warning("jobs wait for a worker that serves %s; none is here", models)
            self._unserved = lacking

    def _clocks_agree(self) -> bool:
        """Whether Redis's clock ran like ours since the last pass: a clock that was set must cost nobody a lease."""
        clocks = (self._store.now_ms() / 1000, time.monotonic())
        before, self._clocks = self._clocks, clocks
        if before is None:
            return True
        drift = (clocks[0] - before[0]) - (clocks[1] - before[1])
        if abs(drift) <= self._settings.lease_seconds:
            return True
        log.warning("the clock of Redis moved by %.0f s; leases are left alone this time", drift)
        return False
