"""Content-addressed blobs outside Redis: a file's name is the SHA-256 of its bytes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import TextIO

from shared.errors import AlreadyRunning, StorageFailed, StoreUnavailable

log = logging.getLogger(__name__)

_REF = re.compile(r"[0-9a-f]{64}")
_ASIDE = ".aside-"  # what is about to be removed has this before its name
_WANTED = ".wanted"  # a folder with a list for each request under way: what it has stored and no job names yet
ASKED_AT_ONCE = 500  # of the references of old blobs
_MOST_LEFT = 10_000  # references that are remembered while what they name cannot be removed

Named = Callable[[Sequence[str]], set[str]]
"""Those of some references that a job names: `JobStore.referenced`."""


@dataclass(frozen=True)
class Swept:
    """What a sweep removed, or would remove."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.files + other.files, self.bytes + other.bytes)


@dataclass(frozen=True)
class BlobStore:
    """Blobs in a local folder, which many processes may share. `durable` forces each to the disk before it counts."""

    folder: Path
    durable: bool = False
    _left: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LEFT), compare=False, repr=False)

    def put(self, data: bytes) -> str:
        """Store `data` and return its reference. Raises StorageFailed, leaving no half file. What others may store too
        goes by `provisional`, lest it be removed with theirs."""
        ref = ref_of(data)
        self._store(ref, data)
        return ref

    @contextmanager
    def provisional(self, named: Named) -> Iterator[Provisional]:
        """Files that a job is to name before this ends. Where it raises, those that were made here are removed."""
        stored = Provisional(self)
        try:
            with closing(stored):
                yield stored
        except StoreUnavailable:
            self._left.extend(stored.created)
            raise
        except BaseException:
            self._try_to_remove(stored.created, named)
            raise
        if self._left:
            self._try_to_remove([], named)

    def remove(self, refs: Sequence[str], named: Named) -> Swept:
        """Remove at once, of some blobs, what no job names and no request is about to have named. Where Redis does not
        answer, or a backup is at work, that is done with the next call, or by a sweep.

        Exact beside writers and readers. A file is taken aside first. A request that stores the same later finds it
        gone and writes it anew. One that did so before has it on its list, or a job names it: then it is put back.
        """
        freed = Swept()
        refs = [*refs, *self._taken_from_left()]
        while refs:
            try:
                with self.unswept(seconds=1):
                    freed += self._remove_unwanted(refs[:ASKED_AT_ONCE], named)
            except (AlreadyRunning, StoreUnavailable):
                self._left.extend(refs)
                break
            del refs[:ASKED_AT_ONCE]
        return freed

    def get(self, ref: str) -> bytes:
        """The bytes of `ref`. Raises StorageFailed where they are missing or are not what was stored. A damaged file is
        removed, so that the same bytes can be stored anew."""
        try:
            data = self._read(ref)
        except OSError as error:
            raise StorageFailed(f"a stored file cannot be read: {error.strerror}") from error
        if ref_of(data) != ref:
            self.discard(ref)
            raise StorageFailed("a stored file is damaged")
        return data

    def discard(self, ref: str) -> None:
        """Remove a blob, if it is there."""
        self._path(ref).unlink(missing_ok=True)

    def keep(self, ref: str) -> bool:
        """Mark a blob as wanted again, so that no sweep takes it for a while. False where it is not there."""
        path = self._path(ref)
        try:
            os.utime(path)
            path.stat()  # a sweep that did not see the mark yet has taken it aside before
        except FileNotFoundError:
            return False
        return True

    def sweep(self, named: Named, *, older_than: float, dry_run: bool = False) -> Swept:
        """Remove what nobody wrote or wanted for so many seconds and no job names, and parts of files that were never
        finished. Raises AlreadyRunning where another sweep, or a backup, is at work.

        Safe beside writers and readers, as long as whoever stores a blob has a job name it within `older_than`. A file
        is taken aside first, and put back where it was marked as wanted by then. A writer marks the file and looks for
        it again: where its mark came too late to be seen, it finds the file gone and writes it anew. A reader finds the
        file in one of the two places.
        """
        freed = Swept()
        oldest = time.time() - older_than
        with self.unswept():
            old = self._untouched_since(oldest)
            while some := list(islice(old, ASKED_AT_ONCE)):
                found = named([path.name for path in some if _REF.fullmatch(path.name)])
                for path in some:
                    if path.name not in found:
                        freed += _sized(path) if dry_run else self._remove(path, oldest)
            if not dry_run:
                self._forget_lists(oldest)
        return freed

    @contextmanager
    def unswept(self, seconds: float = 5) -> Iterator[None]:
        """While this is held, nobody else removes a blob. Raises AlreadyRunning where others hold it for so long."""
        self.folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + seconds
        with (self.folder / ".sweep").open("w") as file:
            while not _locked(file):
                if time.monotonic() > until:
                    raise AlreadyRunning("the blobs are being swept or backed up just now; try again in a minute")
                time.sleep(0.01)
            yield

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk of the blobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def _store(self, ref: str, data: bytes) -> bool:
        """Whether the file was not there."""
        with _storing():
            if self.keep(ref):
                return False
            self._write(self._path(ref), data)
        return True

    def _taken_from_left(self) -> Iterator[str]:
        with suppress(IndexError):  # none is left
            while True:
                yield self._left.popleft()

    def _try_to_remove(self, refs: Sequence[str], named: Named) -> None:
        try:
            self.remove(refs, named)
        except OSError as error:
            log.warning("the files of a refused request are left to the next sweep: %s", error.strerror)

    def _remove_unwanted(self, refs: Sequence[str], named: Named) -> Swept:
        freed, aside = Swept(), [ref for ref in refs if self._take_aside(ref)]
        spared = set(aside)
        try:
            # The lists come first: a request removes its own after a job has named its files.
            spared = self._wanted() | named(aside)
        finally:
            for ref in aside:
                if ref in spared:
                    self._put_back(self._aside(ref))
                else:
                    freed += _unlinked(self._aside(ref))
        return freed

    def _wanted(self) -> set[str]:
        """What requests under way have stored, or are about to."""
        found: set[str] = set()
        for path in self.folder.glob(f"{_WANTED}/*"):
            with suppress(FileNotFoundError):
                found.update(path.read_text("ascii").split())
        return found

    def _forget_lists(self, oldest: float) -> None:
        """Those of requests whose processes have died."""
        for path in self.folder.glob(f"{_WANTED}/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime <= oldest:
                    path.unlink()

    def _take_aside(self, ref: str) -> bool:
        try:
            os.rename(self._path(ref), self._aside(ref))
        except FileNotFoundError:
            return False
        return True

    def _path(self, ref: str) -> Path:
        if not _REF.fullmatch(ref):
            raise StorageFailed("not a blob reference")
        return self.folder / ref[:2] / ref

    def _aside(self, ref: str) -> Path:
        return self._path(ref).with_name(f"{_ASIDE}{ref}")

    def _read(self, ref: str) -> bytes:
        for path in (self._path(ref), self._aside(ref)):
            with suppress(FileNotFoundError):
                return path.read_bytes()
        return self._path(ref).read_bytes()  # it was put back meanwhile, or is nowhere

    def _untouched_since(self, moment: float) -> Iterator[Path]:
        for path in self.folder.glob("??/*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime <= moment:
                    yield path

    def _remove(self, path: Path, oldest: float) -> Swept:
        if path.name.startswith(_ASIDE):  # of a sweep that died
            self._put_back(path)
            return Swept()
        if not _REF.fullmatch(path.name):
            return _unlinked(path)
        if not self._take_aside(path.name):
            return Swept()
        aside = self._aside(path.name)
        if aside.stat().st_mtime > oldest:
            self._put_back(aside)
            return Swept()
        return _unlinked(aside)

    def _put_back(self, aside: Path) -> None:
        os.utime(aside)  # it may take the place of a file that was just written, and has to count as no older
        os.rename(aside, self._path(aside.name.removeprefix(_ASIDE)))

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if self.durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        if self.durable:
            self._sync_folder(path.parent)

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Provisional:
    """What one request stores before any job names it; its list says so to whoever would remove it. `created` are the
    files that were not there."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._path = blobs.folder / _WANTED / secrets.token_hex(16)
        self._list: FileIO | None = None
        self.created: list[str] = []

    def put(self, data: bytes) -> str:
        """As `BlobStore.put`."""
        ref = ref_of(data)
        with _storing():
            self._want(ref)
        if self._blobs._store(ref, data):
            self.created.append(ref)
        return ref

    def keep(self, ref: str) -> bool:
        """As `BlobStore.keep`."""
        return self._blobs.keep(ref)

    def close(self) -> None:
        """Forget the list of what is stored provisionally. May be called twice."""
        if self._list is not None:
            self._list.close()
            self._path.unlink(missing_ok=True)

    def _want(self, ref: str) -> None:
        if self._list is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._list = self._path.open("wb", buffering=0)  # a line is there when it is written
        line = f"{ref}\n".encode()
        if self._list.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"a file could not be stored: {error.strerror}") from error


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def ref_of(data: bytes) -> str:
    """What names these bytes."""
    return hashlib.sha256(data).hexdigest()


def _unlinked(path: Path) -> Swept:
    """Remove a file; what that freed."""
    size = _sized(path)
    path.unlink(missing_ok=True)
    return size


def _sized(path: Path) -> Swept:
    try:
        return Swept(1, path.stat().st_size)
    except FileNotFoundError:
        return Swept()
