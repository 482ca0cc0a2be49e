"""How many requests were answered, how, and how fast. Each web process counts by itself and adds its counts to the
store now and then, so that one answer of `/metrics` tells those of all processes."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter

from flask import Flask, Response, g, request

from shared.errors import StoreUnavailable
from shared.overview import observed
from shared.store import JobStore

log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # whatever else a stranger writes is `other`


class Traffic:
    """The requests of this process that were not yet added to the store."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._figures: Counter[str] = Counter()
        self._flushed = time.monotonic()
        self._sending = threading.Lock()  # one at a time
        self._unsent: Counter[str] | None = None
        self._operation = ""

    def count(self, *, route: str, method: str, status: int, milliseconds: float) -> None:
        """One request was answered."""
        known = method if method in METHODS else "other"
        with self._lock:
            self._figures.update({f"http:{route}:{known}:{status}": 1})
            self._figures.update(observed(f"answer:{route}", milliseconds))

    def flush_if_due(self) -> None:
        """Add to the store what came together, every few seconds; where it is away, at a later time."""
        with self._lock:
            if time.monotonic() - self._flushed < FLUSH_SECONDS:
                return
            self._flushed = time.monotonic()
        try:
            self.flush()
        except StoreUnavailable as error:
            log.warning("requests could not be counted yet: %s", error)

    def flush(self) -> None:
        """Add to the store what came together. Raises StoreUnavailable, and loses nothing."""
        with self._sending:
            if self._unsent is None:
                with self._lock:
                    self._unsent, self._figures = self._figures, Counter()
                self._operation = secrets.token_hex(8)
            # Sent again after a reply that was lost, it is still the same operation, and counts once.
            if self._unsent:
                self._store.add(self._unsent, operation=self._operation)
            self._unsent = None


def register(app: Flask, store: JobStore) -> Traffic:
    """Count every request of the application, from its begin, which web/tracing.py notes."""
    traffic = Traffic(store)

    @app.after_request
    def count(response: Response) -> Response:
        took = time.perf_counter() - g.began
        route = request.endpoint or "none"
        traffic.count(route=route, method=request.method, status=response.status_code, milliseconds=took * 1000)
        response.call_on_close(traffic.flush_if_due)  # the answer is on its way by then, whatever Redis does
        return response

    return traffic
