"""Pictures that tell the test explainer what to do: a mark in the first pixels, and a number that makes each unique."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from PIL import Image

from tests.conftest import encoded

SIDE = 8
TICK_SECONDS = 0.02  # the unit of `ticks`


class Behaviour(IntEnum):
    """What the explainer does with a picture, after it has worked for `ticks`."""

    ANSWER = 0
    DIE_ANSWERING = 1  # these four kill the process once for each picture, at that point
    DIE_BEFORE_BLOB = 2
    DIE_AFTER_BLOB = 3
    DIE_AFTER_FINISH = 4
    EXIT = 5  # these do it every time
    SEGFAULT = 6
    OUT_OF_MEMORY = 7
    HANG = 8
    HANG_HOLDING_GIL = 9
    DIE_BEFORE_FINISH = 10  # once; the blob is there


@dataclass(frozen=True)
class Marked:
    """A marked picture. `ticks` are 0 to 255 units of work."""

    number: int
    behaviour: Behaviour = Behaviour.ANSWER
    ticks: int = 0

    def png(self) -> bytes:
        return encoded(Image.frombytes("RGB", (SIDE, SIDE), self._pixels()))

    @property
    def digest(self) -> str:
        """What a right answer repeats."""
        return hashlib.sha256(self._pixels()).hexdigest()

    @classmethod
    def read(cls, pixels: bytes) -> Marked:
        """From its levels, SIDE x SIDE x 3."""
        return cls(int.from_bytes(pixels[3:11], "big"), Behaviour(pixels[0]), pixels[1])

    def _pixels(self) -> bytes:
        head = bytes([self.behaviour, self.ticks, 0]) + self.number.to_bytes(8, "big")
        return head.ljust(SIDE * SIDE * 3, b"\x7f")
