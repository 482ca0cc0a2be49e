"""Places: how many requests of one caller a web process holds, and how many of them it works on at a time.

In one process, Python computes for one request at a time. While it works on a hundred of one caller, it would come to
another's once in a hundred turns. So it works on a few of each caller's, and the others wait. While a request waits
itself, for the bytes of its sender, for a turn elsewhere or for another host, it gives its place to the caller's next.
What is held in all is bounded too, for it holds a thread: an eighth of the threads is left to other callers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, cast

from flask import Flask, Response, g, request

from shared.settings import Settings
from web import access
from web.problems import Busy
from web.turns import Turns

WORKED_ON = 4  # requests of one caller at a time
LONG = {"api.follow_job", "api.get_bundle", "batches.get_report"}  # they have places of their own
BUFFERED_BYTES = 16 * 1024  # of an answer, which the system takes at once, however slowly it is read


class Place:
    """The place of one request among those of its caller that are worked on."""

    def __init__(self, turns: Turns, sharer: str) -> None:
        self._turns = turns
        self._sharer = sharer
        self._is_held = False

    def take(self) -> None:
        """Wait for it. Raises Busy where that takes minutes."""
        self._turns.take(self._sharer, patient=True)
        self._is_held = True

    def give_back(self) -> None:
        if self._is_held:
            self._is_held = False
            self._turns.give_back(self._sharer)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Without it meanwhile."""
        self.give_back()
        try:
            yield
        finally:
            self.take()


class Arriving:
    """The body of a request: what reads it may have to wait for its sender."""

    def __init__(self, stream: IO[bytes], place: Place) -> None:
        self._stream = stream
        self._place = place

    def read(self, size: int = -1) -> bytes:
        with self._place.left():
            return self._stream.read(size)


@contextmanager
def left() -> Iterator[None]:
    """Around a wait: another request of the caller is worked on meanwhile."""
    place: Place | None = g.get("place") if g else None
    if place is None:
        yield
        return
    with place.left():
        yield


def register(app: Flask, settings: Settings) -> None:
    """To be called after what tells who the caller is. A caller with too many requests is answered with 429."""
    threads = settings.web_threads
    held = Turns("requests", at_once=threads, of_one=threads - max(1, threads // 8), busy=_busy)
    worked_on = Turns("requests", at_once=threads, of_one=threads, working_of_one=WORKED_ON, busy=_busy)

    @app.before_request
    def take_a_place() -> None:
        if request.endpoint in LONG or ("caller" not in g and request.method in access.SAFE):
            return
        sharer = access.sharer()
        held.take(sharer)
        g.let_go = partial(held.give_back, sharer)
        g.place = Place(worked_on, sharer)
        g.place.take()
        request.environ["wsgi.input"] = Arriving(cast("IO[bytes]", request.environ["wsgi.input"]), g.place)

    @app.after_request
    def hold_while_it_is_read(response: Response) -> Response:
        is_long = response.is_streamed or (response.content_length or 0) > BUFFERED_BYTES
        if is_long and (let_go := g.pop("let_go", None)) is not None:
            response.call_on_close(let_go)
        return response

    @app.teardown_request
    def give_it_back(_: BaseException | None) -> None:
        if (place := g.pop("place", None)) is not None:
            place.give_back()
        if (let_go := g.pop("let_go", None)) is not None:
            let_go()


def _busy() -> Busy:
    return Busy("too many requests are being answered; ask again shortly")
