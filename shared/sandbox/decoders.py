"""Pictures and archives read by other processes: functions of `shared.masking` and `shared.archives` as the web server
uses them.

At most `PROCESSES` decode pictures for one process of the service; further requests wait. They start when they are
first needed, are kept, and end with the process that started them. An archive gets a process of its own, since its
sender may be slow.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from queue import LifoQueue
from typing import Any, BinaryIO

from PIL import Image

from shared import errors
from shared.archives import Bounds
from shared.cores import usable_cores
from shared.errors import InvalidArchive, InvalidImage, PathlightError
from shared.images import Header, Limits, Photo
from shared.sandbox import frames
from shared.settings import REPOSITORY

SECONDS = 3.0  # of processor time for one answer
MEMORY_BYTES = 600_000_000  # of one decoder
PROCESSES = min(2, usable_cores())
PATIENCE_SECONDS = 60.0  # with one that gets no processor, or that was stopped
Message = tuple[dict[str, Any], list[bytes]]


@dataclass(frozen=True)
class CheckedEntry:
    """One file of an archive: a picture with its bytes, or why it is none. `sha256` is that of the file's bytes."""

    name: str
    sha256: str
    header: Header | None
    data: bytes
    fault: str


def read_explained(data: bytes, mask: bytes | None, limits: Limits, *, fill: str) -> Photo:
    """As `masking.read_explained`; raises the same, and InvalidImage where that costs too much."""
    fields, (pixels,) = _ask("photo", [data] if mask is None else [data, mask], limits, fill=fill)
    width, height = fields["size"]
    return Photo(Image.frombytes("RGB", tuple(fields["pixels"]), pixels), (width, height))


def read_mask(data: bytes, limits: Limits) -> Image.Image:
    """As `masking.read_mask`; raises the same, and InvalidImage where that costs too much."""
    fields, (pixels,) = _ask("mask", [data], limits)
    return Image.frombytes("L", tuple(fields["size"]), pixels)


def read_archive(file: BinaryIO, bounds: Bounds, limits: Limits) -> Iterator[CheckedEntry]:
    """The entries of the archive in a file on the disk, as `archives.read_archive`; raises the same, and InvalidArchive
    where that costs too much."""
    decoder = Decoder(files=[file.fileno()])
    try:
        request = _request("archive", limits, path=f"/dev/fd/{file.fileno()}", bounds=asdict(bounds))
        for fields, parts in decoder.answers(request):
            if not fields:
                return
            _raise_refusal(fields)
            header = Header(**fields["header"]) if "header" in fields else None
            data, fault = (parts[0], "") if header else (b"", fields["fault"])
            yield CheckedEntry(fields["name"], fields["sha256"], header, data, fault)
        raise InvalidArchive("the archive takes more time or memory to unpack than an archive may")
    finally:
        decoder.end()


def _ask(operation: str, parts: Sequence[bytes], limits: Limits, **options: object) -> Message:
    fields, found = _decoders(os.getpid()).ask(_request(operation, limits, **options), parts)
    _raise_refusal(fields)
    return fields, found


def _request(operation: str, limits: Limits, **options: object) -> dict[str, Any]:
    return {"operation": operation, "limits": asdict(limits), "options": options}


def _raise_refusal(fields: dict[str, Any]) -> None:
    if "refused" in fields:
        kind: type[PathlightError] = getattr(errors, fields["refused"])
        raise kind(fields["message"])


@cache
def _decoders(pid: int) -> Decoders:
    """Those of this process: one that was forked off has its own."""
    decoders = Decoders(PROCESSES)
    atexit.register(decoders.close)
    return decoders


class Decoders:
    """A few decoders, each of which works for one thread at a time."""

    def __init__(self, count: int) -> None:
        self._all = [Decoder() for _ in range(count)]
        self._idle: LifoQueue[Decoder] = LifoQueue()  # the one that worked last is the one that has started already
        for decoder in reversed(self._all):
            self._idle.put(decoder)

    def ask(self, request: dict[str, Any], parts: Sequence[bytes]) -> Message:
        """Raises InvalidImage where the answer costs more than a decoder may."""
        decoder = self._idle.get()
        try:
            return decoder.ask(request, parts)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        for decoder in self._all:
            decoder.end()


class Decoder:
    """One process, started when it is needed, and again where it has ended."""

    def __init__(
        self, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES, files: Sequence[int] = ()
    ) -> None:
        """`files` are open ones that the process may read."""
        self._given = files
        self._command = [sys.executable, "-m", "shared.sandbox.decode", str(seconds), str(memory_bytes)]
        self._process: subprocess.Popen[bytes] | None = None
        self._files: tuple[BinaryIO, BinaryIO] | None = None  # to read from it and to write to it

    def ask(self, request: dict[str, Any], parts: Sequence[bytes]) -> Message:
        """The one answer. A process may end for a reason that has nothing to do with the picture; one on which two end
        is at fault: raises InvalidImage."""
        for _ in range(2):
            for answer in self.answers(request, parts):
                return answer
            if self.end() == -signal.SIGPROF:
                raise InvalidImage("the picture takes more time to decode than a picture may")
        raise InvalidImage("the picture cannot be decoded with the memory that a picture may take")

    def answers(self, request: dict[str, Any], parts: Sequence[bytes] = ()) -> Iterator[Message]:
        """All that the process answers, until it ends or stands still."""
        with suppress(OSError):  # a connection that is closed, or silent for too long
            source, sink = self._started()
            frames.write(sink, request, parts)
            while (answer := frames.read(source)) is not None:
                yield answer

    def end(self) -> int | None:
        """How its process ended; None where it never started."""
        if self._process is None or self._files is None:
            return None
        for file in self._files:
            with suppress(OSError):
                file.close()
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process = self._files = None
        return code

    def _started(self) -> tuple[BinaryIO, BinaryIO]:
        if self._files is None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    pass_fds=self._given,
                    cwd=REPOSITORY,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a thread more is memory more
                )
                ours.settimeout(PATIENCE_SECONDS)
                self._files = ours.makefile("rb"), ours.makefile("wb")
        return self._files
