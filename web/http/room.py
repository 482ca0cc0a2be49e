"""Room on the disk: whether more pictures are taken. What is kept free is for the results of jobs already accepted."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared.blobs.blob_store import BlobStore
from shared.errors import QueueFull
from shared.settings import Settings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

HELD = 512 * 1024  # bytes of a file of a form that stay in memory


class Room:
    """Of one web process. What its requests are writing at this moment counts as written, so that many of them
    together do not pass the reserve."""

    def __init__(self, blobs: BlobStore, settings: Settings) -> None:
        self._blobs = blobs
        self._disk = BlobStore(settings.blobs)  # of this machine, wherever the blobs are kept: uploads wait here
        self._reserve = settings.disk_reserve_bytes
        self._promised = 0
        self._lock = threading.Lock()

    def left(self) -> int:
        """How many bytes are left for pictures; below 0 where nothing is taken just now."""
        return min(self._blobs.free_bytes(), self._disk.free_bytes()) - self._reserve

    def require(self) -> int:
        """How many bytes are left for pictures. Raises QueueFull where nothing is taken."""
        left = self.left()
        if left < 0:
            raise _full()
        return left

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """While so many bytes are written to this machine's disk. Raises QueueFull where that would touch the
        reserve."""
        with self._lock:
            self._promised += size
        try:
            if self._disk.free_bytes() - self._promised < self._reserve:
                raise _full()
            yield
        finally:
            with self._lock:
                self._promised -= size

    def spool(self) -> Spool:
        """A file for a part of a form, which is gone when it is closed."""
        return Spool(self)

    @property
    def folder(self) -> str:
        """On the disk that is looked at; it is there."""
        self._disk.folder.mkdir(parents=True, exist_ok=True)
        return str(self._disk.folder)


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A file that asks for room before each write."""

    def __init__(self, room: Room) -> None:
        super().__init__(HELD, dir=room.folder)
        self._room = room

    def write(self, data: ReadableBuffer) -> int:
        held = self.tell() if self.tell() <= HELD else 0  # in memory, and to be written with what goes beyond it
        with self._room.taken(held + memoryview(data).nbytes):
            return super().write(data)

    def writelines(self, lines: Iterator[bytes]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)


def _full() -> QueueFull:
    return QueueFull("the disk has no room for more pictures; try again when it has")
