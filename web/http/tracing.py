"""Every request has an id: the client's own (`X-Request-Id`) or a new one. Its answer bears it, every line of the log
names it, and a job takes it along, so that the worker's lines name it too."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from shared import tracing

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
SAFE = {"GET", "HEAD", "OPTIONS"}


def register(app: Flask) -> None:
    """To be called before anything that may refuse a request."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        tracing.follow(tracing.Trace(request_id=tracing.request_id(request.headers.get(HEADER))))

    @app.after_request
    def tell(response: Response) -> Response:
        """Of what only looks, and there is much of it, only failures are worth a line."""
        response.headers[HEADER] = tracing.current().request_id
        if request.method not in SAFE or response.status_code >= 500:
            route, took = request.endpoint or "no route", (time.perf_counter() - g.began) * 1000
            log.info("%s %s answered with %d in %.0f ms", request.method, route, response.status_code, took)
        return response

    @app.teardown_request
    def end(error: BaseException | None) -> None:
        tracing.follow(tracing.Trace())
