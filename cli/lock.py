"""A folder that one command at a time may write to."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import AlreadyRunning


@contextmanager
def locked(folder: Path, *, taken: str) -> Iterator[None]:
    """Hold the folder, which must exist; the system lets go of it when the process ends in whatever way.

    Raises AlreadyRunning, with the sentence `taken`, where another process holds it.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(taken) from error
        yield
