"""The leases of a batch, which are kept alive while the work on it goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from shared.errors import StoreUnavailable
from shared.jobs import Claim
from shared.store.job_store import JobStore, Lease

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.25  # between two reports of progress, each of which also asks whether to go on


class Unwanted(Exception):
    """No job of the batch is to be finished here: each was cancelled, is past its deadline, or is somebody else's."""


class Leases:
    """Keeps the leases of a batch alive from a thread, every third of their length, while the work goes on. Long work
    also reports its progress here, and so hears early that a job was cancelled."""

    def __init__(self, store: JobStore, claims: Sequence[Claim], *, seconds: float) -> None:
        self._store = store
        self._claims = list(claims)
        self._pause = seconds / 3
        self._states = {claim.id: Lease.HELD for claim in claims}
        self._reported = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def state(self, claim: Claim) -> Lease:
        """What the newest renewal said of a job."""
        return self._states[claim.id]

    def report(self, stage: str, done: int, total: int) -> None:
        """Say how far the batch is, now and then. Raises Unwanted where none of its jobs is to be finished here."""
        if time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        try:
            self._states |= self._store.report(self._claims, done=done, total=total, stage=stage)
        except StoreUnavailable as error:
            log.warning("the progress could not be reported: %s", error)
        if all(state is not Lease.HELD for state in self._states.values()):
            raise Unwanted

    def _renew(self) -> None:
        while not self._done.wait(self._pause):
            try:
                self._states |= self._store.renew(self._claims)
            except StoreUnavailable as error:
                log.warning("the leases could not be renewed: %s", error)
