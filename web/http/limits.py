"""How much one caller may ask for: requests a minute with one API key, and attempts to sign in from one address.

The counts are in Redis, so that all web processes share them, and they hold where it is full. Where Redis is away
nothing is counted, and nothing that would have to be: whatever needs Redis answers 503 by itself. Without keys there is
one caller, who owns the machine.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, g, request

from shared.errors import StoreUnavailable, TooManyRequests
from shared.settings import Settings
from shared.store.rates import Rates
from web.http import access
from web.http.problems import problem

ENTER = "sign_in.enter"


def register(app: Flask, settings: Settings, rates: Rates) -> None:
    """Count requests once it is known who makes them."""

    @app.before_request
    def count() -> Response | None:
        found = _counted(settings)
        if found is None:
            return None
        name, most = found
        try:
            seconds = rates.wait_seconds(name, most=most)
        except StoreUnavailable:
            return None
        return _refusal(most, seconds) if seconds else None


def _counted(settings: Settings) -> tuple[str, int] | None:
    """What the request counts as, and how many of it are allowed a minute."""
    if request.endpoint == ENTER:
        return f"sign-ins:{access.host_of(request.remote_addr)}", settings.sign_ins_per_minute
    if "caller" not in g or access.caller().key is None:
        return None
    if request.method in access.SAFE:
        return f"reads:{access.caller().owner}", settings.reads_per_minute
    return f"writes:{access.caller().owner}", settings.writes_per_minute


def _refusal(most: int, seconds: int) -> Response:
    detail = f"more than {most} a minute were asked for; try again later"
    response = problem(HTTPStatus.TOO_MANY_REQUESTS, code=TooManyRequests.code, detail=detail)
    response.headers["Retry-After"] = str(seconds)
    return response
