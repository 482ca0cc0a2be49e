"""Slots: how many requests of one caller a web process holds, and how many of them it works on at a time.

In one process, Python computes for one request at a time. While it works on a hundred of one caller, it would come to
another's once in a hundred turns. So it works on a few of each caller's, and the others wait. While a request waits
itself, for the bytes of its sender, for a turn elsewhere or for another host, it gives its slot to the caller's next.
What is held in all is bounded too, for it holds a thread until its answer has been taken: an eighth of the threads is
left to other callers.
"""

from __future__ import annotations

import hashlib
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from flask import Flask, Response, g, request
from werkzeug.exceptions import RequestTimeout

from shared.settings import Settings
from web.http import access
from web.http.problems import Busy
from web.http.turns import Turns

MOST_ACQUAINTED = 10_000  # callers, of each some hundred bytes
WORKED_ON = 4  # requests of one caller at a time
RESTS = 2.0  # times what the last request took
LONGEST_REST_SECONDS = 0.1  # of a request that took longer, most was waiting
FREE = {"health.healthz", "health.readyz"}  # who operates the service asks for these, however full it is
FOLLOWED = "api.follow_job"  # works only when there is something to tell
PATIENCE_SECONDS = 30.0  # in all that a body may keep us waiting,
BYTES_A_SECOND = 4096  # and one more for so many bytes
_HELD = "pathlight.held"  # in a request's environment: what gives its thread back to the caller's share

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Pace:
    """While others come too, a caller that sends many requests at once is worked for in a third of the time: after each
    of its requests, its next one waits for twice as long as that took."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._until: dict[str, float] = {}

    def wait(self, sharer: str) -> None:
        """Before a request of the sharer is worked on."""
        until = self._until.pop(sharer, 0.0)
        if self._turns.is_crowding(sharer):
            time.sleep(max(0.0, until - time.monotonic()))

    def note(self, sharer: str, seconds: float) -> None:
        """A request of the sharer was worked on for so long."""
        if self._turns.is_crowding(sharer):
            self._until[sharer] = time.monotonic() + min(LONGEST_REST_SECONDS, RESTS * seconds)


class Slot:
    """The slot of one request among those of its caller that are worked on."""

    def __init__(self, turns: Turns, pace: Pace, sharer: str) -> None:
        self._turns = turns
        self._pace = pace
        self._sharer = sharer
        self._is_held = False
        self._began = 0.0

    def take(self) -> None:
        """Wait for it. Raises Busy where that takes minutes."""
        self._turns.take(self._sharer, patient=True)
        self._is_held = True
        self._pace.wait(self._sharer)
        self._began = time.monotonic()

    def give_back(self) -> None:
        """Let the caller's next request have it. Does nothing where it is not held."""
        if self._is_held:
            self._is_held = False
            self._pace.note(self._sharer, time.monotonic() - self._began)
            self._turns.give_back(self._sharer)

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give the slot back meanwhile, and take one again at the end."""
        was_held = self._is_held
        self.give_back()
        try:
            yield
        finally:
            if was_held:
                self.take()


class Arriving:
    """The body of a request: what reads it may have to wait for its sender, but not for ever."""

    def __init__(self, stream: IO[bytes], slot: Slot) -> None:
        self._stream = stream
        self._slot = slot
        self._left = PATIENCE_SECONDS

    def read(self, size: int = -1) -> bytes:
        """Raises RequestTimeout where the sender takes too long."""
        if self._left < 0:
            raise RequestTimeout("the request arrives too slowly")
        with self._slot.released():
            began = time.monotonic()
            data = self._stream.read(size)
            self._left += len(data) / BYTES_A_SECOND - (time.monotonic() - began)
        return data


class ReleasingBody:
    """The body of a response, which gives its thread back when it is closed, read to its end or not."""

    def __init__(self, pieces: Iterable[bytes], give_back: Callable[[], object]) -> None:
        self._pieces = pieces
        self._give_back = weakref.finalize(self, give_back)  # once, and also where nobody closes it

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        """Close what the application returned, and give the thread back."""
        try:
            if (close := getattr(self._pieces, "close", None)) is not None:
                close()
        finally:
            self._give_back()


@contextmanager
def released() -> Iterator[None]:
    """Around a wait: gives the slot of this request back meanwhile, so that another of its caller is worked on."""
    slot: Slot | None = g.get("slot") if g else None
    if slot is None:
        yield
        return
    with slot.released():
        yield


class Acquainted:
    """Remembers whose a key or a session is. The slot of a request is chosen before its key is checked: to check a
    hundred at once would keep everybody waiting. A request that shows nothing known counts to its address."""

    def __init__(self) -> None:
        self._sharers: dict[bytes, str] = {}

    def sharer(self) -> str:
        """Whose share the request counts to."""
        shown = access.credential()
        return (self._sharers.get(_digest(shown)) if shown else None) or access.sharer()

    def meet(self) -> None:
        """Remember a caller that was let in."""
        shown = access.credential()
        if not shown or not g.get("caller", access.Caller()).owner:
            return
        if len(self._sharers) >= MOST_ACQUAINTED:
            self._sharers.clear()
        self._sharers[_digest(shown)] = access.sharer()


def _digest(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()


def register(app: Flask, settings: Settings) -> None:
    """To be called before what finds out who the caller is. A caller with too many requests is answered with 429."""
    threads, acquainted = settings.web_threads, Acquainted()
    held = Turns("requests", at_once=threads, of_one=threads - max(1, threads // 8), busy=_busy)
    worked_on = Turns(
        "requests", at_once=threads, of_one=threads, working_of_one=WORKED_ON, beside_others=1, busy=_busy
    )
    pace = Pace(worked_on)
    app.wsgi_app = cast("Any", _counted(app.wsgi_app))  # type: ignore[method-assign]

    @app.before_request
    def take_a_slot() -> None:
        if request.endpoint in FREE:
            return
        sharer = acquainted.sharer()
        held.take(sharer)
        request.environ[_HELD] = lambda: held.give_back(sharer)
        g.slot = Slot(worked_on, pace, sharer)
        if request.endpoint != FOLLOWED:
            g.slot.take()
        request.environ["wsgi.input"] = Arriving(cast("IO[bytes]", request.environ["wsgi.input"]), g.slot)

    @app.after_request
    def meet(response: Response) -> Response:
        acquainted.meet()
        return response

    @app.teardown_request
    def give_it_back(_: BaseException | None) -> None:
        if (slot := g.pop("slot", None)) is not None:
            slot.give_back()


def _counted(app: Wsgi) -> Wsgi:
    """The application, whose answers count to their callers until they are closed."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            pieces = app(environ, start_response)
        except BaseException:
            if give_back := environ.pop(_HELD, None):
                give_back()
            raise
        give_back = environ.pop(_HELD, None)
        return pieces if give_back is None else ReleasingBody(pieces, give_back)

    return answer


def _busy() -> Busy:
    return Busy("too many requests are being answered; ask again shortly")
