"""A decoder: `python -m shared.images.sandbox.decode DESK SECONDS BYTES` answers requests on the socket that is its
standard input, until that ends. DESK is the descriptor of a file in which the requests' parts lie, one behind the
other.

Each request may take so many seconds of processor time, an archive more by what it holds; the process may take so many
bytes of memory of its own. The system itself ends a process that takes longer.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shared.allocator import keep_freed_memory
from shared.cards.card import InputSpec
from shared.errors import BatchTooLarge, InvalidArchive, InvalidImage
from shared.images.archives import Bounds, Entry, read_archive
from shared.images.decode import Limits, Photo, read_header
from shared.images.masking import read_explained, read_mask
from shared.images.sandbox import frames
from shared.images.seeing import Squares

# What an archive may take beyond the time of one answer: for each entry, and for each of its bytes.
ENTRY_SECONDS = 0.002
BYTE_SECONDS = 1 / 20_000_000
TOGETHER, TOGETHER_BYTES = 64, 2**18  # entries of an archive in one answer, or bytes of them
KEPT_BYTES = 2**24  # of freed memory: an ordinary photograph takes less, so that the next one finds it at hand

Reply = tuple[dict[str, Any], Sequence[frames.Part]]
Parts = Sequence[bytes]


def photo(parts: Parts, limits: Limits, *, fill: str) -> Iterator[Reply]:
    """The pixels of the picture, less what the mask hides."""
    yield _whole(_explained(parts, limits, fill))


def shown(parts: Parts, limits: Limits, *, fill: str) -> Iterator[Reply]:
    """The same with no more pixels than anybody is shown."""
    yield _whole(_explained(parts, limits, fill).shown())


def squares(parts: Parts, limits: Limits, *, fill: str, inputs: Sequence[dict[str, Any]]) -> Iterator[Reply]:
    """For each of `inputs`, the square that a network of this input sees of the picture."""
    found = Squares.of(_explained(parts, limits, fill), map(InputSpec.from_dict, inputs))
    yield {"size": found.size}, [square.data.cast("B") for square in found.levels.values()]


def mask(parts: Parts, limits: Limits) -> Iterator[Reply]:
    """The pixels of a mask."""
    found = read_mask(parts[0], limits)
    yield {"size": found.size}, [found.tobytes()]


def archive(parts: Parts, limits: Limits, *, path: str, bounds: dict[str, int]) -> Iterator[Reply]:
    """Its entries, some at a time; of each its header and its bytes, or of one that is no picture why. Then an answer
    without any. Nobody waits for an archive as for a picture: whoever is asked for one goes first."""
    os.nice(10)
    most = signal.getitimer(signal.ITIMER_PROF)[0]
    entries: list[dict[str, Any]] = []
    data: list[bytes] = []
    with Path(path).open("rb") as file:
        for entry in read_archive(file, Bounds(**bounds)):
            left = signal.getitimer(signal.ITIMER_PROF)[0]
            earned = ENTRY_SECONDS + BYTE_SECONDS * len(entry.data)
            signal.setitimer(signal.ITIMER_PROF, min(most, left + earned))
            found = _entry(entry, limits)
            entries.append(found)
            data.append(entry.data if "header" in found else b"")
            if len(entries) == TOGETHER or sum(map(len, data)) > TOGETHER_BYTES:
                yield {"entries": entries}, data
                entries, data = [], []
    yield {"entries": entries}, data
    if entries:
        yield {"entries": []}, []


def _entry(entry: Entry, limits: Limits) -> dict[str, Any]:
    found = {"name": entry.name, "sha256": hashlib.sha256(entry.data).hexdigest()}
    try:
        return found | {"header": asdict(read_header(entry.data, limits))}
    except InvalidImage as error:
        return found | {"fault": entry.fault or str(error)}


OPERATIONS: dict[str, Callable[..., Iterator[Reply]]] = {
    "photo": photo,
    "shown": shown,
    "squares": squares,
    "mask": mask,
    "archive": archive,
}


def _whole(found: Photo) -> Reply:
    return {"size": found.size, "pixels": found.pixels.size}, [found.pixels.tobytes()]


def _explained(parts: Parts, limits: Limits, fill: str) -> Photo:
    """The picture of the first part, less what the mask hides that may be the second."""
    return read_explained(parts[0], parts[1] if len(parts) > 1 else None, limits, fill=fill)


def answers(requests: Sequence[dict[str, Any]], desk: int, seconds: float) -> Iterator[Reply]:
    """What each of some requests asks for, one after the other; each has so much time."""
    place = 0
    for request in requests:
        parts = []
        for length in request["parts"]:
            parts.append(os.pread(desk, length, place))
            place += length
        signal.setitimer(signal.ITIMER_PROF, seconds)
        yield from _answers(request, parts)


def _answers(request: dict[str, Any], parts: Parts) -> Iterator[Reply]:
    """What is asked for, or the refusal by the name of its class."""
    try:
        yield from OPERATIONS[request["operation"]](parts, Limits(**request["limits"]), **request["options"])
    except (InvalidImage, InvalidArchive, BatchTooLarge) as error:
        yield {"refused": type(error).__name__, "message": str(error)}, []


def serve(requests: Sequence[dict[str, Any]], desk: int, channel: socket.socket, seconds: float) -> None:
    """Send every answer. Nothing of a picture outlives this."""
    for answer in answers(requests, desk, seconds):
        frames.write(channel, *answer)
    signal.setitimer(signal.ITIMER_PROF, 0)


def main(desk: int, seconds: float, memory: int) -> None:
    """Answer requests until the channel ends: each within `seconds` of processor time, all within `memory` bytes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, whose end ends this one
    with suppress(ValueError, OSError):  # some systems know no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    keep_freed_memory(KEPT_BYTES)
    channel = socket.socket(fileno=sys.stdin.fileno())
    while (message := frames.read(channel)) is not None:
        serve(message[0]["requests"], desk, channel, seconds)


def arguments(line: Sequence[str]) -> tuple[int, float, int]:
    """Those of `main`, from the command line."""
    desk, seconds, memory = line[1:]
    return int(desk), float(seconds), int(memory)


if __name__ == "__main__":
    with suppress(ConnectionError):  # the process that asked has ended
        main(*arguments(sys.argv))
