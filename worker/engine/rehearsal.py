"""A rehearsal: work on a stranger's bytes, done once in a copy of this process that may take little time and memory.

Where the copy ends well, the same work can be done here: it takes no more. Where it is refused, or ended by the system,
or ends by a fault of a reader written in C, nothing has happened to this process.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from shared.errors import PathlightError


class TooMuch(Exception):
    """The work takes more time or memory than it may, or ends the process that does it."""


def rehearse(work: Callable[[], object], *, seconds: float, memory_bytes: int) -> str:
    """Do the work in a copy with so many seconds of processor time, and so many bytes beside what this process has.
    Returns what it was refused with, nothing where it ended well. Raises TooMuch."""
    source, sink = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the copy needs none of them
        pid = os.fork()
    if pid == 0:
        _work_and_end(work, sink, seconds, memory_bytes)
    os.close(sink)
    with os.fdopen(source, "rb") as file:
        said = file.read().decode()
    _, status = os.waitpid(pid, 0)
    if status:
        raise TooMuch
    return said


def _work_and_end(work: Callable[[], object], sink: int, seconds: float, memory_bytes: int) -> None:
    code = 1
    try:
        faulthandler.disable()  # its exit status says how it ended
        torch.set_num_threads(1)  # the threads of this process were not copied
        _limit(seconds, memory_bytes)
        try:
            work()
        except PathlightError as error:
            os.write(sink, str(error).encode()[:4096])
        code = 0
    finally:
        os._exit(code)  # without what this process does at its end


def _limit(seconds: float, memory_bytes: int) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # some systems know no such limit
        most = _own_bytes() + memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _own_bytes() -> int:
    """What this process has of the memory that is limited."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[5]) * resource.getpagesize()
