"""Pictures and archives read by other processes: functions of `masking` and `archives` as web server and worker
use them.

At most `PROCESSES` decode pictures for one web process, and as many as it says for one of a worker; further requests
wait. They start when they are first needed, are kept, and end with the process that started them. An archive gets a
process of its own, since its sender may be slow.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from io import FileIO
from itertools import islice
from queue import LifoQueue
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from shared import errors
from shared.cards.card import InputSpec
from shared.cores import usable_cores
from shared.errors import InvalidArchive, InvalidImage, PathlightError, StorageFailed
from shared.images.archives import Bounds
from shared.images.decode import Header, Limits, Photo
from shared.images.sandbox import frames
from shared.images.sandbox.frames import Message
from shared.images.seeing import Squares
from shared.settings import REPOSITORY

SECONDS = 3.0  # of processor time for one answer
MEMORY_BYTES = 600_000_000  # of one decoder
PROCESSES = min(2, usable_cores())
PATIENCE_SECONDS = 60.0  # with one that gets no processor, or that was stopped
PROGRAM = "shared.images.sandbox.decode"
DESK_BYTES = 2**21  # of a desk that are kept: to write there again is faster


@dataclass(frozen=True)
class Look:
    """The files of a picture and of what hides a part of it, and the inputs of the networks that look at it."""

    data: bytes
    mask: bytes | None
    limits: Limits
    fill: str
    inputs: Sequence[InputSpec]

    @property
    def size(self) -> int:
        """Of the files, in bytes."""
        return len(self.data) + len(self.mask or b"")


@dataclass(frozen=True)
class Task:
    """What a decoder is asked about some files."""

    request: Mapping[str, Any]
    parts: Sequence[bytes] = ()


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
    return _photo(_ask(Task(_request("photo", limits, fill=fill), _given(data, mask))))


def read_shown(data: bytes, mask: bytes | None, limits: Limits, *, fill: str) -> Photo:
    """The same with no more pixels than anybody is shown."""
    return _photo(_ask(Task(_request("shown", limits, fill=fill), _given(data, mask))))


def read_mask(data: bytes, limits: Limits) -> Image.Image:
    """As `masking.read_mask`; raises the same, and InvalidImage where that costs too much."""
    fields, (pixels,) = _ask(Task(_request("mask", limits), [data]))
    return Image.frombytes("L", tuple(fields["size"]), pixels)


def read_archive(file: BinaryIO, bounds: Bounds, limits: Limits) -> Iterator[CheckedEntry]:
    """The entries of the archive in a file on the disk, as `archives.read_archive`; raises the same, and InvalidArchive
    where that costs too much."""
    decoder = Decoder(files=[file.fileno()])
    try:
        request = _request("archive", limits, path=f"/dev/fd/{file.fileno()}", bounds=asdict(bounds))
        for fields, parts in decoder.answers([Task(request)]):
            if refusal := _refusal(fields):
                raise refusal
            if not fields["entries"]:
                return
            for entry, data in zip(fields["entries"], parts, strict=True):
                header = Header(**entry["header"]) if "header" in entry else None
                yield CheckedEntry(entry["name"], entry["sha256"], header, bytes(data), entry.get("fault", ""))
        raise InvalidArchive("the archive takes more time or memory to unpack than an archive may")
    finally:
        decoder.end()


def _ask(task: Task) -> Message:
    (answer,) = _decoders(os.getpid()).ask([task])
    if isinstance(answer, PathlightError):
        raise answer
    return answer


def _request(operation: str, limits: Limits, **options: object) -> dict[str, Any]:
    return {"operation": operation, "limits": asdict(limits), "options": options}


@lru_cache(maxsize=64)
def _request_of_squares(limits: Limits, fill: str, inputs: Sequence[InputSpec]) -> dict[str, Any]:
    """Kept: there are few, and to write out many inputs takes longer than to send a small picture."""
    return _request("squares", limits, fill=fill, inputs=[spec.to_dict() for spec in inputs])


def _given(data: bytes, mask: bytes | None) -> list[bytes]:
    return [data] if mask is None else [data, mask]


def _photo(answer: Message) -> Photo:
    fields, (pixels,) = answer
    return Photo(Image.frombytes("RGB", tuple(fields["pixels"]), pixels), _size(fields))


def _size(fields: dict[str, Any]) -> tuple[int, int]:
    width, height = fields["size"]
    return width, height


def _refusal(fields: dict[str, Any]) -> PathlightError | None:
    if "refused" not in fields:
        return None
    kind: type[PathlightError] = getattr(errors, fields["refused"])
    return kind(fields["message"])


def _squares(answer: Message, inputs: Sequence[InputSpec]) -> Squares:
    fields, found = answer
    shaped = [
        np.frombuffer(levels, np.uint8).reshape(spec.crop, spec.crop, 3)
        for levels, spec in zip(found, inputs, strict=True)
    ]
    return Squares(_size(fields), dict(zip(inputs, shaped, strict=True)))


@cache
def _decoders(pid: int) -> Decoders:
    """Those of this process: one that was forked off has its own."""
    decoders = Decoders(PROCESSES)
    atexit.register(decoders.close)
    return decoders


class Decoders:
    """A few decoders, each of which works for one thread at a time."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._all = [Decoder() for _ in range(count)]
        self._idle: LifoQueue[Decoder] = LifoQueue()  # the one that worked last is the one that has started already
        for decoder in reversed(self._all):
            self._idle.put(decoder)

    def start(self) -> None:
        """Start the first one, so that the first picture does not wait for that."""
        self._all[0].start()

    def read_squares(self, looks: Sequence[Look]) -> list[Squares | PathlightError]:
        """What the networks see of each picture, as `masking.read_explained` reads it; or what that raises, or
        InvalidImage where it costs too much. One decoder reads all of them, one after the other."""
        wanted = [tuple(dict.fromkeys(look.inputs)) for look in looks]
        tasks = [
            Task(_request_of_squares(look.limits, look.fill, inputs), _given(look.data, look.mask))
            for look, inputs in zip(looks, wanted, strict=True)
        ]
        return [
            answer if isinstance(answer, PathlightError) else _squares(answer, inputs)
            for answer, inputs in zip(self.ask(tasks), wanted, strict=True)
        ]

    def ask(self, tasks: Sequence[Task]) -> list[Message | PathlightError]:
        """The one answer to each, or the refusal, or InvalidImage where it costs more than a decoder may."""
        decoder = self._idle.get()
        try:
            answers = decoder.ask(tasks)
        finally:
            self._idle.put(decoder)
        return [answer if isinstance(answer, PathlightError) else _refusal(answer[0]) or answer for answer in answers]

    def close(self) -> None:
        """End the processes."""
        for decoder in self._all:
            decoder.end()


class Decoder:
    """One process, started when it is needed, and again where it has ended."""

    def __init__(
        self, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES, files: Sequence[int] = ()
    ) -> None:
        """`files` are open ones that the process may read."""
        self._files = files
        self._limits = (str(seconds), str(memory_bytes))
        self._running: Running | None = None

    def ask(self, tasks: Sequence[Task]) -> list[Message | InvalidImage]:
        """The one answer to each. A process may end for a reason that has nothing to do with the picture; one on which
        two end is at fault, as is one that takes too long: InvalidImage is its answer, and the others have theirs."""
        found: list[Message | InvalidImage] = []
        ended_at = -1
        while len(found) < len(tasks):
            found += self._answers(tasks[len(found) :])
            if (at := len(found)) == len(tasks):
                break
            if self.end() == -signal.SIGPROF:
                found.append(InvalidImage("the picture takes more time to decode than a picture may"))
            elif at == ended_at:
                found.append(InvalidImage("the picture cannot be decoded with the memory that a picture may take"))
            ended_at = at
        return found

    def answers(self, tasks: Sequence[Task]) -> Iterator[Message]:
        """All that the process answers, until it ends or stands still."""
        running = self.start()
        running.lay([part for task in tasks for part in task.parts])
        requests = [{**task.request, "parts": [len(part) for part in task.parts]} for task in tasks]
        with suppress(OSError):  # a connection that is closed, or silent for too long
            frames.write(running.channel, {"requests": requests})
            while (answer := frames.read(running.channel)) is not None:
                yield answer

    def end(self) -> int | None:
        """How its process ended; None where there is none."""
        if self._running is None:
            return None
        code = self._running.end()
        self._running = None
        return code

    def start(self) -> Running:
        """Its process, which is started where there is none."""
        if self._running is None:
            self._running = Running.start(self._limits, self._files)
        return self._running

    def _answers(self, tasks: Sequence[Task]) -> list[Message]:
        """One for each task, as far as they come. What breaks the wait off, such as a time limit, ends the process:
        what comes later must not be taken for the next answer."""
        try:
            found = list(islice(self.answers(tasks), len(tasks)))
            self.start().clear()
            return found
        except BaseException:
            if self._running is not None:
                self._running.process.kill()
            self.end()
            raise


@dataclass(frozen=True)
class Running:
    """A decoder's process. What it decodes lies on its desk, which is memory that both processes share: a socket takes
    a millisecond for each megabyte."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    desk: FileIO

    @classmethod
    def start(cls, limits: Sequence[str], files: Sequence[int]) -> Running:
        """Start one within so many seconds and bytes, which may read these files."""
        desk = FileIO(os.memfd_create("desk"), "r+")
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM, str(desk.fileno()), *limits],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=[desk.fileno(), *files],
                cwd=REPOSITORY,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a thread more is memory more
            )
        ours.settimeout(PATIENCE_SECONDS)
        return cls(process, ours, desk)

    def lay(self, parts: Sequence[bytes]) -> None:
        """Lay these on the desk, one behind the other. Raises StorageFailed where there is no room for them."""
        try:
            self.desk.seek(0)
            for part in parts:
                self.desk.write(part)
        except OSError as error:
            raise StorageFailed(f"a file could not be given to a decoder: {error.strerror}") from error

    def clear(self) -> None:
        """Keep no more memory for the desk than ordinary pictures take."""
        if os.fstat(self.desk.fileno()).st_size > DESK_BYTES:
            self.desk.truncate(DESK_BYTES)

    def end(self) -> int:
        """How it ended."""
        self.channel.close()
        self.desk.close()
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
