"""How many requests were answered, how, and how fast. Each web process counts by itself and adds its counts to the
store now and then, so that one answer of `/metrics` tells those of all processes."""

from __future__ import annotations

import threading
import time

from flask import Flask, Response, g, request

from shared.store.counters import Counters
from shared.store.job_store import JobStore
from shared.store.overview import observed

FLUSH_SECONDS = 5.0
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # whatever else a stranger writes is `other`


class Traffic:
    """The requests of this process."""

    def __init__(self, store: JobStore) -> None:
        self._counters = Counters(store)
        self._lock = threading.Lock()
        self._flushed = time.monotonic()

    def count(self, *, route: str, method: str, status: int, milliseconds: float) -> None:
        """One request was answered."""
        known = method if method in METHODS else "other"
        self._counters.count({f"http:{route}:{known}:{status}": 1, **observed(f"answer:{route}", milliseconds)})

    def flush(self) -> None:
        """Add to the store what came together. Raises StoreUnavailable, and loses nothing."""
        self._counters.flush()

    def flush_if_due(self) -> None:
        """The same, every few seconds and in peace."""
        with self._lock:
            if time.monotonic() - self._flushed < FLUSH_SECONDS:
                return
            self._flushed = time.monotonic()
        self._counters.try_to_flush()


def register(app: Flask, traffic: Traffic) -> None:
    """Count every request of the application, from its begin, which web/http/tracing.py notes."""

    @app.after_request
    def count(response: Response) -> Response:
        took = time.perf_counter() - g.began
        route = request.endpoint or "none"
        traffic.count(route=route, method=request.method, status=response.status_code, milliseconds=took * 1000)
        response.call_on_close(traffic.flush_if_due)  # the answer is on its way by then, whatever Redis does
        return response
