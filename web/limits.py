"""How much one caller may ask for: requests a minute with one API key, attempts to sign in from one address, and
requests that are answered at a time.

The counts are in Redis, so that all web processes share them, and they hold where it is full. Where Redis is away
nothing is counted, and nothing that would have to be: whatever needs Redis answers 503 by itself. Without keys there is
one caller, who owns the machine.
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, g, request

from shared.errors import StoreUnavailable, TooManyRequests
from shared.rates import Rates
from shared.settings import Settings
from web import access
from web.problems import problem
from web.turns import Turns

ENTER = "sign_in.enter"
HELD_LONG = {"api.follow_job", "api.get_bundle", "batches.get_report"}  # they have places of their own
ANSWERED_OF_ONE = 8  # requests of one caller that are answered at a time: the others share the processor with these
PATIENCE_SECONDS = 10.0


def register(app: Flask, settings: Settings, rates: Rates) -> None:
    """Count requests once it is known who makes them, and answer those of each caller in their turn."""
    answering = _answering(settings)

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

    @app.before_request
    def take_a_place() -> None:
        if "caller" in g and request.endpoint not in HELD_LONG:
            sharer = access.sharer()
            answering.take(sharer)
            g.place = sharer

    @app.teardown_request
    def give_it_back(_: BaseException | None) -> None:
        if (sharer := g.pop("place", None)) is not None:
            answering.give_back(sharer)


def _answering(settings: Settings) -> Turns:
    """Of one web process. Half of its threads are left to other callers, whatever one sends, and however slowly."""
    return Turns(
        "requests",
        at_once=settings.web_threads,
        of_one=max(ANSWERED_OF_ONE, settings.web_threads // 2),
        working_of_one=ANSWERED_OF_ONE,
        busy=lambda: TooManyRequests(
            f"{ANSWERED_OF_ONE} of your requests take their time; ask again when one has ended"
        ),
        patience=PATIENCE_SECONDS,
    )


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
