"""What processes cost, as the operating system counts it: processor seconds, and memory of their own.

Memory is what a process has written (anonymous pages), not the libraries that it shares with others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PAUSE_SECONDS = 0.05  # between two looks at memory


@dataclass(frozen=True)
class Tree:
    """A process with all its descendants. `depth` of one: itself is 0."""

    root: int

    def members(self) -> dict[int, int]:
        """The depth of each living process, by its id."""
        found = {self.root: 0}
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.root).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    found[child.pid] = found.get(child.ppid(), 0) + 1
        return found

    def seconds(self) -> float:
        """Of processor time since the beginning, with that of processes that have ended."""
        while True:
            before = self.members()
            total = sum(map(_seconds, before))
            if self.members() == before:  # who ends while it is read would count twice, or not at all
                return total


@dataclass
class Peak:
    """The most memory while it was watched, in bytes: that of the shallow processes of a tree together, beyond what
    they had before; and the most that any deeper one had, or gained."""

    shallow: int = 0
    deepest_had: int = 0
    deepest_gained: int = 0


@dataclass
class Watch:
    """Looks at a tree until it is told to stop. `shallow` is the depth from which a process stands for itself."""

    tree: Tree
    shallow: int
    peak: Peak = field(default_factory=Peak)
    _before: dict[int, int] = field(default_factory=dict)

    def begin(self) -> None:
        for pid in self.tree.members():
            _forget_peak(pid)
        self._before = {pid: _memory(pid).now for pid in self.tree.members()}

    def look(self) -> None:
        members = self.tree.members()
        found = {pid: _memory(pid) for pid in members}
        together = sum(found[pid].now - self._before.get(pid, 0) for pid in members if members[pid] < self.shallow)
        self.peak.shallow = max(self.peak.shallow, together)
        for pid in members:
            if members[pid] >= self.shallow:
                self.peak.deepest_had = max(self.peak.deepest_had, found[pid].most)
                self.peak.deepest_gained = max(self.peak.deepest_gained, found[pid].most - self._known(pid))

    def _known(self, pid: int) -> int:
        """What a process had before; one that is new had what the others had."""
        return self._before.get(pid, max(self._before.values(), default=0))


@contextmanager
def watching(watches: Sequence[Watch]) -> Iterator[None]:
    """Look at the trees twenty times a second, and once at the end."""
    for watch in watches:
        watch.begin()
    ended = threading.Event()
    thread = threading.Thread(target=_until, args=(ended, watches))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _until(ended: threading.Event, watches: Sequence[Watch]) -> None:
    more = True
    while more:
        more = not ended.wait(PAUSE_SECONDS)
        for watch in watches:
            watch.look()


@dataclass(frozen=True)
class _Memory:
    """Bytes that a process has written: now, and at most since its peak was forgotten."""

    now: int
    most: int


def _memory(pid: int) -> _Memory:
    fields = _status(pid)
    now = fields.get("RssAnon", 0)
    return _Memory(now, max(now, fields.get("VmHWM", 0) - fields.get("RssFile", 0) - fields.get("RssShmem", 0)))


def _status(pid: int) -> Mapping[str, int]:
    """The sizes in /proc/PID/status, in bytes; none where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(number) * 1024 for name, number, _ in pairs}


def _forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
