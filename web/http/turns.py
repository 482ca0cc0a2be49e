"""Turns: few work at a time, each caller has a share of the slots, and callers who wait take turns.

What a request costs beyond its own bytes, a drawing or a thread for as long as somebody reads, is bounded in all and
for each caller. So nobody stands behind all that another has asked for, and one slow peer costs its own caller alone.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.errors import PathlightError, TooManyRequests

SHARES = 8
COMPANY_SECONDS = 1.0
_LONG_SECONDS = 300.0


def share_of(slots: int) -> int:
    """How many of the slots that are held for as long as somebody else takes may be one caller's: an eighth, but two
    at least, so that a person may follow two jobs."""
    return min(slots, max(2, slots // SHARES))


class Turns:
    """`at_once` may work at a time, and of one caller's `working_of_one`, or all where that is not given; while others
    come too, within `COMPANY_SECONDS`, `beside_others` of one caller's, where that is given. `of_one` caller's may work
    or wait, and none waits longer than `patience` seconds: then it is refused with what `busy` makes.
    `what` names in a sentence what a caller has too many of."""

    def __init__(
        self,
        what: str,
        *,
        at_once: int,
        of_one: int,
        busy: Callable[[], PathlightError],
        working_of_one: int | None = None,
        beside_others: int | None = None,
        patience: float = 0.0,
    ) -> None:
        self._what = what
        self._free = at_once
        self._of_one = of_one
        self._working_of_one = working_of_one or at_once
        self._beside_others = beside_others or self._working_of_one
        self._latest = ("", 0.0)  # who came last, and when
        self._company_until = 0.0  # callers come by turns until then, and as long as they go on to do so
        self._busy = busy
        self._patience = patience
        self._held: Counter[str] = Counter()  # how many of a caller's work or wait
        self._working: Counter[str] = Counter()
        self._waiting: dict[str, deque[threading.Event]] = {}  # by caller, whose turn it is first
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, caller: str, *, patient: bool = False) -> Iterator[None]:
        """As `take`, given back at the end."""
        self.take(caller, patient=patient)
        try:
            yield
        finally:
            self.give_back(caller)

    def take(self, caller: str, *, patient: bool = False) -> None:
        """Wait for the caller's turn, and take a slot. Raises TooManyRequests past the caller's share, and what `busy`
        makes where the wait is too long. One that is `patient` waits for minutes: it holds a slot elsewhere by which
        its caller's share is bounded, and cannot be refused any more."""
        with self._lock:
            if self._held[caller] >= self._of_one and not patient:
                raise TooManyRequests(f"{self._of_one} {self._what} are yours already; ask again when one has ended")
            self._held[caller] += 1
            self._see(caller)
            if self._is_free_for(caller):
                self._begin(caller)
                return
            ticket = threading.Event()
            self._waiting.setdefault(caller, deque()).append(ticket)
            self._let_on()
        try:
            has_come = ticket.wait(_LONG_SECONDS if patient else self._patience)
        except BaseException:
            if not self._leave(caller, ticket):
                self.give_back(caller)
            raise
        if not has_come and self._leave(caller, ticket):
            raise self._busy()

    def give_back(self, caller: str) -> None:
        """The caller's turn is over; whoever is next begins."""
        with self._lock:
            self._free += 1
            self._working[caller] -= 1
            self._forget(caller)
            self._let_on()

    def is_crowding(self, caller: str) -> bool:
        """Whether the caller has several requests at once while others come too."""
        return self._held[caller] > 1 and self._is_in_company()

    def _let_on(self) -> None:
        """As many as there are slots for. What else a caller waits for stands behind what all others wait for."""
        while self._free and (caller := self._next()) is not None:
            tickets = self._waiting.pop(caller)
            ticket = tickets.popleft()
            if tickets:
                self._waiting[caller] = tickets
            self._begin(caller)
            ticket.set()

    def _begin(self, caller: str) -> None:
        self._free -= 1
        self._working[caller] += 1

    def _is_free_for(self, caller: str) -> bool:
        """Whether there is a slot for a caller that nobody waits for."""
        return bool(self._free) and caller not in self._waiting and self._working[caller] < self._most()

    def _next(self) -> str | None:
        most = self._most()
        return next((one for one in self._waiting if self._working[one] < most), None)

    def _most(self) -> int:
        """How many of one caller's may work just now."""
        return self._beside_others if self._is_in_company() else self._working_of_one

    def _is_in_company(self) -> bool:
        return time.monotonic() < self._company_until

    def _see(self, caller: str) -> None:
        """Note that a caller has come, and whether another was the last."""
        latest, at = self._latest
        now = time.monotonic()
        self._latest = (caller, now)
        if caller != latest and now - at < COMPANY_SECONDS:
            self._company_until = now + COMPANY_SECONDS

    def _leave(self, caller: str, ticket: threading.Event) -> bool:
        """Wait no longer. False where its turn has come just now."""
        with self._lock:
            if ticket.is_set():
                return False
            self._waiting[caller].remove(ticket)
            if not self._waiting[caller]:
                del self._waiting[caller]
            self._forget(caller)
            return True

    def _forget(self, caller: str) -> None:
        self._held[caller] -= 1
        if not self._held[caller]:
            del self._held[caller]
            del self._working[caller]
