"""Child processes of `pathlight run`: each in a group of its own, none outlives its parent, all end on request."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

_PR_SET_PDEATHSIG = 1
RESTART_PAUSE_SECONDS = 1.0


@dataclass
class Child:
    """One supervised process. A restart waits a moment, longer each time it comes soon after the last."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()  # open files that it is given, under their numbers
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = field(default=0.0)

    def start(self) -> None:
        """Start the process, in a session of its own. It ends with its parent."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            list(self.command),
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            pass_fds=self.descriptors,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends its children in order
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - the parent has one thread
        )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def restart_if_dead(self) -> bool:
        """Start again a process that ended by itself. True where that happened."""
        if self.alive:
            return False
        self.kill_group()
        steady = time.monotonic() - self.started > 60
        self.restarts = 0 if steady else self.restarts + 1
        time.sleep(min(RESTART_PAUSE_SECONDS * self.restarts, 10))
        self.start()
        return True

    def terminate(self) -> None:
        """Ask the process to end (SIGTERM), where it runs."""
        if self.alive and self.process is not None:
            self.process.terminate()

    def wait(self, seconds: float) -> bool:
        """Wait for the end. False where it did not come."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """End whatever is left of the process and its own children."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def stop_all(children: Sequence[Child], *, seconds: float) -> None:
    """Ask all to end, and end them after `seconds`."""
    until = time.monotonic() + seconds
    for child in children:
        child.terminate()
    for child in children:
        child.wait(until - time.monotonic())
        child.kill_group()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
