"""A watchdog: ends a worker whose event loop stands still, so that whoever supervises it starts it again.

A worker that waits for a Redis which does not answer stands still by right, and is left alone.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal

from shared.errors import StoreUnavailable
from shared.store.job_store import JobStore

log = logging.getLogger(__name__)


class Watchdog:
    """Expires (SIGALRM, in the main thread) when it was not reset for `patience` seconds, and kills the process when it
    expires twice in a row with the store answering: Celery takes up to a minute to find a Redis that came back.

    The kernel's timer is used, not a thread: a pool that forks must not have any.
    """

    def __init__(self, store: JobStore, *, patience: float) -> None:
        self._store = store  # of its own: the thread that the signal interrupts may hold the locks of any other
        self._patience = patience
        self._suspicious = False

    def start(self) -> None:
        """Begin to watch. To be called in the main thread."""
        signal.signal(signal.SIGALRM, lambda number, frame: self._expire())
        self.reset()

    def reset(self) -> None:
        """Say that the event loop goes round."""
        self._suspicious = False
        signal.setitimer(signal.ITIMER_REAL, self._patience)

    def stop(self) -> None:
        """Watch no longer."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _expire(self) -> None:
        answers = self._answers()
        if answers and self._suspicious:
            log.critical("this worker stands still while the store answers: it is ended, and where it stood follows")
            faulthandler.dump_traceback()
            os.kill(os.getpid(), signal.SIGKILL)
        self._suspicious = answers
        signal.setitimer(signal.ITIMER_REAL, self._patience)

    def _answers(self) -> bool:
        try:
            self._store.ping()
        except StoreUnavailable:
            return False
        return True
