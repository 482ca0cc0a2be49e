"""What processes cost, as the operating system counts it: processor seconds, and memory of their own.

Memory is what a process has written (anonymous pages), not the libraries that it shares with others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PAUSE_SECONDS = 0.05  # between two looks at memory
_COPIED_LOOKS = 20  # after which a process that is a copy of its parent stays one, like a worker of a pool
_FORKED_WITHOUT_PROGRAM = 0x40  # PF_FORKNOEXEC, a flag in /proc/PID/stat
_TICKS = os.sysconf("SC_CLK_TCK")  # in a second of processor time


@dataclass(frozen=True)
class _Process:
    """`seconds` are its own, and those of its children that have ended. `copied`: it is a copy of its parent, and runs
    no program of its own (yet)."""

    parent: int
    seconds: float
    copied: bool


@dataclass(frozen=True)
class Tree:
    """A process with all its descendants."""

    root: int

    def seconds(self) -> float:
        """Of processor time since the beginning, with that of processes that have ended."""
        while True:
            processes = _processes()
            members = self.members(processes)
            if self.members(_processes()) == members:  # who ends meanwhile would count twice, or not at all
                return sum(processes[pid].seconds for pid in members)

    def members(self, processes: Mapping[int, _Process]) -> dict[int, int]:
        """The depth of each living process, by its id; the root's is 0."""
        found = {self.root: 0} if self.root in processes else {}
        before = 0
        while len(found) > before:
            before = len(found)
            for pid, process in processes.items():
                if pid not in found and process.parent in found:
                    found[pid] = found[process.parent] + 1
        return found


@dataclass
class Peak:
    """The most memory while it was watched, in bytes: that of the shallow processes of a tree together, beyond what
    they had before; and the most that any deeper one had, or gained."""

    shallow: int = 0
    deepest_had: int = 0
    deepest_gained: int = 0


@dataclass
class Watch:
    """Looks at a tree now and then. `shallow` is the depth from which a process stands for itself."""

    tree: Tree
    shallow: int
    peak: Peak = field(default_factory=Peak)
    _before: dict[int, int] = field(default_factory=dict)
    _looks: dict[int, int] = field(default_factory=dict)

    def begin(self, processes: Mapping[int, _Process]) -> None:
        members = self.tree.members(processes)
        for pid in members:
            _forget_peak(pid)
        self._before = {pid: _memory(pid).now for pid in members}
        self._looks = dict.fromkeys(members, _COPIED_LOOKS)

    def look(self, processes: Mapping[int, _Process]) -> None:
        """Until it runs a program of its own, a new process has its parent's memory, which is not its own."""
        members = self.tree.members(processes)
        self._looks = {pid: self._looks.get(pid, 0) + 1 for pid in members}
        settled = {pid for pid, looks in self._looks.items() if looks > _COPIED_LOOKS or not processes[pid].copied}
        found = {pid: _memory(pid) for pid in settled}
        together = sum(one.now - self._before.get(pid, 0) for pid, one in found.items() if members[pid] < self.shallow)
        self.peak.shallow = max(self.peak.shallow, together)
        for pid, one in found.items():
            if members[pid] >= self.shallow:
                self.peak.deepest_had = max(self.peak.deepest_had, one.most)
                self.peak.deepest_gained = max(self.peak.deepest_gained, one.most - self._known(pid))

    def _known(self, pid: int) -> int:
        """What a process had before; one that is new had what the others had."""
        return self._before.get(pid, max(self._before.values(), default=0))


@contextmanager
def watching(watches: Sequence[Watch]) -> Iterator[None]:
    """Look at the trees twenty times a second, and once at the end."""
    for watch in watches:
        watch.begin(_processes())
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
        processes = _processes()
        for watch in watches:
            watch.look(processes)


def _processes() -> dict[int, _Process]:
    """All of the machine. One that ends meanwhile may be left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                found[int(name)] = _parsed(_read(f"/proc/{name}/stat"))
    return found


def _read(path: str) -> bytes:
    """A small file of the system, read without more ado: there are hundreds, and they are read often."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 16)
    finally:
        os.close(file)


def _parsed(line: bytes) -> _Process:
    """A line of /proc/PID/stat: behind the name, which may hold anything, fields 3 and up."""
    fields = line.rpartition(b")")[2].split()
    copied = bool(int(fields[6]) & _FORKED_WITHOUT_PROGRAM)
    return _Process(int(fields[1]), sum(map(int, fields[11:15])) / _TICKS, copied)


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
        lines = _read(f"/proc/{pid}/status").decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(number) * 1024 for name, number, _ in pairs}


def _forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
