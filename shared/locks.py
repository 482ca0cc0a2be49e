"""Locks between processes: what one of them at a time may change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from shared.errors import AlreadyRunning


@contextmanager
def locked(file: Path, *, taken: str, patient: bool = False) -> Iterator[None]:
    """Hold the lock that a file stands for, in a folder that exists; the system lets go of it when the process ends in
    whatever way. Where another process holds it, one that is `patient` waits, and else AlreadyRunning is raised with
    the sentence `taken`."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout as error:
        raise AlreadyRunning(taken) from error
    try:
        yield
    finally:
        lock.release()
