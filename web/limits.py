"""How much one caller may ask for: requests a minute with one API key, and attempts to sign in from one address.

The counts are in Redis, so that all web processes share them. Where Redis is away nothing is counted, and nothing that
would have to be: whatever needs Redis answers 503 by itself. Without keys there is one caller, who owns the machine.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from flask_limiter import ApplicationLimit, Limiter, RateLimitExceeded

from shared.connection import PREFIX, connect
from shared.errors import TooManyRequests
from shared.settings import Settings
from web import access
from web.problems import problem

ENTER = "sign_in.enter"


def register(app: Flask, settings: Settings) -> None:
    """Count requests once it is known who makes them."""

    def of_no_key() -> bool:
        return "caller" not in g or access.caller().key is None

    def by_key(most: int, *, reads: bool) -> ApplicationLimit:
        return ApplicationLimit(
            f"{most} per minute",
            scope="reads" if reads else "writes",
            exempt_when=lambda: of_no_key() or (request.method in access.SAFE) != reads,
        )

    sign_ins = ApplicationLimit(
        f"{settings.sign_ins_per_minute} per minute",
        scope="sign-ins",
        key_function=lambda: request.remote_addr or "unknown",
        exempt_when=lambda: request.endpoint != ENTER,
    )
    # The type of the options is narrower than what they may be.
    storage: dict[str, Any] = {"connection_pool": connect(settings).connection_pool, "key_prefix": f"{PREFIX}limits"}
    limiter = Limiter(
        lambda: access.caller().owner,
        app=app,
        application_limits=[
            by_key(settings.reads_per_minute, reads=True),
            by_key(settings.writes_per_minute, reads=False),
            sign_ins,
        ],
        strategy="sliding-window-counter",
        storage_uri="redis://",
        storage_options=storage,
        swallow_errors=True,
    )

    # Said once for all limits: asked of each, this would take a quarter of the time of a small request.
    @limiter.request_filter
    def is_uncounted() -> bool:
        return request.endpoint != ENTER and of_no_key()

    @app.errorhandler(RateLimitExceeded)
    def refuse(error: RateLimitExceeded) -> Response:
        response = problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            code=TooManyRequests.code,
            detail=f"more than {error.description} were asked for; try again later",
        )
        if (breached := limiter.current_limit) is not None:
            response.headers["Retry-After"] = str(max(1, breached.reset_at - int(time.time())))
        return response
