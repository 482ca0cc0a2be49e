"""A decoder: `python -m shared.sandbox.decode SECONDS BYTES` answers requests on its standard input until that ends.

Each answer may take so many seconds of processor time, and the process so many bytes of memory of its own. The system
itself ends a process that takes longer.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.archives import Bounds, read_archive
from shared.errors import BatchTooLarge, InvalidArchive, InvalidImage
from shared.images import Limits, read_header
from shared.masking import read_explained, read_mask
from shared.sandbox import frames

Answer = tuple[dict[str, Any], Sequence[bytes]]
Parts = Sequence[bytes]


def photo(parts: Parts, limits: Limits, *, fill: str) -> Iterator[Answer]:
    found = read_explained(parts[0], parts[1] if len(parts) > 1 else None, limits, fill=fill)
    yield {"size": found.size, "pixels": found.pixels.size}, [found.pixels.tobytes()]


def mask(parts: Parts, limits: Limits) -> Iterator[Answer]:
    found = read_mask(parts[0], limits)
    yield {"size": found.size}, [found.tobytes()]


def archive(parts: Parts, limits: Limits, *, path: str, bounds: dict[str, int]) -> Iterator[Answer]:
    """Entry by entry; of one that is no picture why, and not its bytes. Then an answer without a name."""
    with Path(path).open("rb") as file:
        for entry in read_archive(file, Bounds(**bounds)):
            found = {"name": entry.name, "sha256": hashlib.sha256(entry.data).hexdigest()}
            try:
                yield found | {"header": asdict(read_header(entry.data, limits))}, [entry.data]
            except InvalidImage as error:
                yield found | {"fault": entry.fault or str(error)}, []
    yield {}, []


OPERATIONS: dict[str, Callable[..., Iterator[Answer]]] = {
    "photo": photo,
    "mask": mask,
    "archive": archive,
}


def answers(request: dict[str, Any], parts: Parts) -> Iterator[Answer]:
    """What is asked for, or the refusal by the name of its class."""
    try:
        yield from OPERATIONS[request["operation"]](parts, Limits(**request["limits"]), **request["options"])
    except (InvalidImage, InvalidArchive, BatchTooLarge) as error:
        yield {"refused": type(error).__name__, "message": str(error)}, []


def main(seconds: float, memory: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, whose end ends this one
    with suppress(ValueError, OSError):  # some systems know no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    while (message := frames.read(sys.stdin.buffer)) is not None:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        for answer in answers(*message):
            frames.write(sys.stdout.buffer, *answer)
            signal.setitimer(signal.ITIMER_PROF, seconds)  # for the next answer
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the process that asked has ended
        main(float(sys.argv[1]), int(sys.argv[2]))
