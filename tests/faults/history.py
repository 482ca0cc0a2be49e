"""What happened in a run, in order of time: what clients were told, what workers did, which faults struck.

Every process appends its events to a file of its own, one JSON line each, so that a killed process loses none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

FOLDER = "PATHLIGHT_FAULTS_FOLDER"  # names the folder of a run to its processes
DEFECT = "PATHLIGHT_FAULTS_DEFECT"  # names a defect for the workers to have
DIE_ON_RECEIPT = "die-on-receipt"  # a file of this name: the next worker that takes a message dies before noting it


@dataclass(frozen=True)
class Event:
    """Anything that happened. `at` is in seconds since the epoch."""

    kind: ClassVar[str]
    at: float


@dataclass(frozen=True)
class Submitted(Event):
    """What a client was told about a job that it sent. `http` is 0 where no answer came."""

    kind = "submitted"
    row: int
    http: int
    seconds: float
    job: str = ""
    code: str = ""
    key: str = ""  # the Idempotency-Key
    digest: str = ""  # of the picture's pixels: what a right result repeats
    ends: tuple[str, ...] = ("succeeded",)  # how this job may end; an error's code stands for `failed`


@dataclass(frozen=True)
class Polled(Event):
    """What a client was told about a job."""

    kind = "polled"
    job: str
    http: int
    status: str = ""
    attempts: int = 0
    digest: str = ""
    error: str = ""
    finished: float = 0.0
    fingerprint: str = ""  # of everything that was answered about an ended job


@dataclass(frozen=True)
class Struck(Event):
    """A fault. `proof` says by what it is known to have happened; empty: it may not have happened. `pid` is the process
    that died by it, where one did; `costs` says whether it can cost a running job an attempt."""

    kind = "struck"
    row: int
    fault: str
    proof: str = ""
    pid: int = 0
    costs: bool = True


@dataclass(frozen=True)
class Claimed(Event):
    """A worker took a job."""

    kind = "claimed"
    job: str
    fence: int
    attempt: int
    pid: int


@dataclass(frozen=True)
class Finished(Event):
    """A worker ended a job, or tried to."""

    kind = "finished"
    job: str
    fence: int
    applied: bool
    pid: int


@dataclass(frozen=True)
class Rested(Event):
    """The service after a quiet time. `counts` are the store's; the others are what is left and should be nothing."""

    kind = "rested"
    counts: Mapping[str, int]
    left: Mapping[str, int] = field(default_factory=dict)


KINDS: dict[str, type[Event]] = {k.kind: k for k in (Submitted, Polled, Struck, Claimed, Finished, Rested)}


T = TypeVar("T", bound=Event)


class Recorder:
    """Appends events to one file. Safe in many threads; a line is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def add(self, event: Event) -> None:
        os.write(self._file, (json.dumps({"kind": event.kind, **asdict(event)}) + "\n").encode())


class Reader:
    """Reads what all processes have written so far. Asked again, it reads only what has come since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events: list[Event] = []
        self._seen: dict[Path, int] = {}  # bytes read of each file

    def events(self) -> list[Event]:
        """The events of all processes, by time."""
        for path in self._folder.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._seen.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._seen[path] = self._seen.get(path, 0) + len(whole)
            self._events += map(_event, map(json.loads, whole.splitlines()))
        self._events.sort(key=lambda event: event.at)
        return list(self._events)


def of_kind(events: Iterable[Event], kind: type[T]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def now() -> float:
    return time.time()


def _event(data: dict[str, Any]) -> Event:
    kind = KINDS[data.pop("kind")]
    known = {f.name for f in fields(kind)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items() if name in known}
    return kind(**values)  # type: ignore[arg-type]  # of the fields that each kind has
