"""Archives that are being sent: each holds a thread of the server for as long as its files are drawn and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from web.http.problems import Busy
from web.http.turns import Turns, share_of

AT_ONCE = 16  # sent by a web process


@dataclass(frozen=True)
class SentArchive:
    """An archive's pieces, and how its place is given back when it is closed, read to its end or not."""

    pieces: Iterator[bytes]
    close: Callable[[], None]

    def __iter__(self) -> Iterator[bytes]:
        return self.pieces


class Sending:
    """The archives of one web process, with a share of their slots for each caller."""

    def __init__(self) -> None:
        self._turns = Turns(
            "archives that are being sent",
            at_once=AT_ONCE,
            of_one=share_of(AT_ONCE),
            busy=lambda: Busy(f"{AT_ONCE} archives are being sent; ask again shortly"),
        )

    def send(self, sharer: str, pieces: Iterator[bytes]) -> SentArchive:
        """An archive, to be closed; its pieces are made when they are read. Raises TooManyRequests or Busy where enough
        are being sent to this caller, or in all."""
        self._turns.take(sharer)
        return SentArchive(pieces, partial(self._turns.give_back, sharer))
