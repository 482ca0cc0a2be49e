"""Puts pictures through the decoder in processes of their own, each with a bound on memory and on time."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from shared.images.sandbox.decoders import MEMORY_BYTES
from shared.settings import REPOSITORY

SECONDS = 2.0  # of processor time, for the header and for the pixels: less than the decoders of the service may take
PATIENCE_SECONDS = 60.0  # of a clock on the wall that others use too
DOCUMENTED = {"taken", "invalid_image", "image_too_large", "unsupported_image"}


@dataclass(frozen=True)
class Verdict:
    """What came of one file. `died` says how its process ended, where it did."""

    name: str
    header: str = ""
    pixels: str = ""
    header_seconds: float = 0.0
    pixels_seconds: float = 0.0
    bytes: int = 0
    died: str = ""

    @property
    def faults(self) -> list[str]:
        """What should not be, in words."""
        found = [text for text in (self.header, self.pixels) if text not in DOCUMENTED and not self.died]
        found += [f"{s:.1f} s" for s in (self.header_seconds, self.pixels_seconds) if s > SECONDS]
        found += [f"{self.bytes / 1e6:.0f} MB"] if self.bytes > MEMORY_BYTES else []
        return found + ([self.died] if self.died else [])


class Decoder:
    """One decoding process, started again where it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, name: str, data: bytes) -> Verdict:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        watch = threading.Timer(PATIENCE_SECONDS, process.kill)
        watch.start()
        try:
            process.stdin.write(struct.pack(">I", len(data)) + data)
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            watch.cancel()
        if line:
            return Verdict(name, **json.loads(line))
        code = process.wait()
        self._forget()
        return Verdict(name, died=f"the process ended with {code}")

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)
            self._forget()

    def _forget(self) -> None:
        for stream in (self._process.stdin, self._process.stdout) if self._process else ():
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command = [sys.executable, "-m", "tests.faults.bad_input.decoder"]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe)
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        return self._process


def verdicts(files: Iterable[tuple[str, bytes]], *, processes: int = 2) -> list[Verdict]:
    """The verdict on every file."""
    with ThreadPoolExecutor(processes) as pool:
        return [one for some in pool.map(_judge, _shares(list(files), processes)) for one in some]


def _judge(files: Sequence[tuple[str, bytes]]) -> list[Verdict]:
    decoder = Decoder()
    try:
        return [decoder(name, data) for name, data in files]
    finally:
        decoder.close()


def _shares(files: Sequence[tuple[str, bytes]], count: int) -> list[Sequence[tuple[str, bytes]]]:
    return [files[number::count] for number in range(count)]
