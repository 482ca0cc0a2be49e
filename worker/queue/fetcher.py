"""Fetch upstream models that somebody asked for on a page or by the API, one at a time, and say how far it is."""

from __future__ import annotations

import logging
import secrets
import threading
from types import TracebackType

from shared.cards.card import Registry
from shared.errors import FetchFailed, PathlightError, StoreUnavailable
from shared.settings import Settings
from shared.store.fetches import Fetch, FetchState, FetchStore

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.5


class Fetcher:
    """Fetches what waits in the store."""

    def __init__(self, fetches: FetchStore, settings: Settings) -> None:
        self._fetches = fetches
        self._settings = settings

    def run(self) -> int:
        """Fetch until nothing waits; how many were taken up."""
        count = 0
        while name := self._fetches.claim(claim_id=(claim_id := secrets.token_hex(8))):
            count += 1
            with FetchReports(self._fetches, name, claim_id=claim_id) as reports:
                self._fetch(name, reports)
        return count

    def _fetch(self, name: str, reports: FetchReports) -> None:
        from worker.engine.upstream import fetch  # brings torch, which a process that only waits does not need

        try:
            fetch(Registry.load(self._settings).get(name), self._settings.cache, progress=reports.progress)
        except PathlightError as error:
            reports.failed(str(error))
            log.warning("%s was not fetched: %s", name, error)
        except Exception:
            reports.failed("it failed for a reason of our own; the log of the process that fetches has it")
            log.exception("%s was not fetched", name)
        except BaseException:
            reports.failed("the process that fetched it was stopped; try again")
            raise
        else:
            log.info("%s was fetched", name)


class FetchReports:
    """Says from a thread how far a fetch is, which also shows that its process lives; at the end, how it ended."""

    def __init__(self, fetches: FetchStore, name: str, *, claim_id: str) -> None:
        self._fetches = fetches
        self._name = name
        self._claim_id = claim_id
        self._counts: tuple[int, int | None] = (0, None)
        self._error: str | None = None
        self._given_up = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, name="reports", daemon=True)

    def __enter__(self) -> FetchReports:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._send(FetchState.DONE if self._error is None else FetchState.FAILED)

    def progress(self, done: int, total: int | None) -> None:
        """Told by the fetch. Raises FetchFailed where another process fetches the model by now."""
        self._counts = done, total
        if self._given_up:
            raise FetchFailed("another process fetches it by now")

    def failed(self, sentence: str) -> None:
        """Note why the fetch failed, in a sentence."""
        self._error = sentence

    def _report(self) -> None:
        while not self._ended.wait(REPORT_SECONDS):
            self._given_up = not self._send(FetchState.RUNNING)

    def _send(self, state: FetchState) -> bool:
        done, total = self._counts
        try:
            return self._fetches.report(self._name, Fetch(state, done, total, self._error), claim_id=self._claim_id)
        except StoreUnavailable as error:
            log.warning("how far the fetch of %s is could not be told: %s", self._name, error)
            return True
