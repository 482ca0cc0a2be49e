"""Content-addressed blobs outside Redis: a file's name is the SHA-256 of its bytes."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from shared.errors import AlreadyRunning, StorageFailed, StoreUnavailable

log = logging.getLogger(__name__)

_REF = re.compile(r"[0-9a-f]{64}")
_ASIDE = ".aside-"  # what a sweep is about to remove has this before its name
ASKED_AT_ONCE = 500  # of the references of old blobs
_BEFORE_SECONDS = 5  # so much older than it is a new file says to be: every mark that is made later is another time
_MOST_LEFT = 10_000  # files of refused requests that are remembered while Redis does not answer

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
class Created:
    """A file that somebody has made. While it has this time, nobody else has stored or wanted the same."""

    ref: str
    mtime_ns: int


@dataclass(frozen=True)
class BlobStore:
    """Blobs in a local folder, which many processes may share. `durable` forces each to the disk before it counts."""

    folder: Path
    durable: bool = False
    _left: deque[Created] = field(default_factory=lambda: deque(maxlen=_MOST_LEFT), compare=False, repr=False)

    def put(self, data: bytes) -> str:
        """Store `data` and return its reference. Raises StorageFailed, leaving no half file."""
        ref = ref_of(data)
        self._store(ref, data)
        return ref

    @contextmanager
    def provisional(self, named: Named) -> Iterator[Provisional]:
        """Files that a job is to name before this ends. Where it raises, those that were made here go at once; where
        Redis does not answer just then, as soon as another one ends while it does, or with a sweep."""
        stored = Provisional(self)
        try:
            yield stored
        except BaseException:
            self._left.extend(stored.created.values())
            raise
        finally:
            self._remove_left(named)

    def get(self, ref: str) -> bytes:
        """The bytes of `ref`. Raises StorageFailed where they are missing or are not what was stored. A damaged file is
        removed, so that the same bytes can be stored anew."""
        try:
            data = self._read(ref)
        except OSError as error:
            raise StorageFailed(f"a stored file cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != ref:
            self.discard(ref)
            raise StorageFailed("a stored file is damaged")
        return data

    def discard(self, ref: str) -> None:
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
        file in one of the two places. What a refused request has made is removed in the same way, for the same reason.
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
        return freed

    @contextmanager
    def unswept(self) -> Iterator[None]:
        """While this is held, no blob is swept. Raises AlreadyRunning where it is held already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".sweep").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning(
                    "the blobs are being swept or backed up just now; try again in a minute"
                ) from error
            yield

    def free_bytes(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def _store(self, ref: str, data: bytes) -> Created | None:
        """Returns the file where it was made here and now, by nobody else."""
        try:
            return None if self.keep(ref) else self._write(self._path(ref), data)
        except OSError as error:
            raise StorageFailed(f"a file could not be stored: {error.strerror}") from error

    def _remove_left(self, named: Named) -> None:
        """Of what refused requests have made, what no job names. Whoever has a job name it later has stored it again,
        which its time then shows."""
        while some := list(self._taken_from_left()):
            try:
                found = named([one.ref for one in some])
            except StoreUnavailable:
                self._left.extend(some)
                return
            for one in some:
                if one.ref not in found:
                    self._remove_own(one)

    def _taken_from_left(self) -> Iterator[Created]:
        with suppress(IndexError):  # none is left
            for _ in range(ASKED_AT_ONCE):
                yield self._left.popleft()

    def _remove_own(self, created: Created) -> None:
        try:
            self._remove_unless(self._path(created.ref), lambda found: found.st_mtime_ns != created.mtime_ns)
        except OSError as error:
            log.warning("the file of a refused request is left to the next sweep: %s", error.strerror)

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
            with self._alone(), suppress(FileNotFoundError):
                self._put_back(path)
            return Swept()
        if not _REF.fullmatch(path.name):
            size = _sized(path)
            path.unlink(missing_ok=True)
            return size
        return self._remove_unless(path, lambda found: found.st_mtime > oldest)

    def _remove_unless(self, path: Path, wanted: Callable[[os.stat_result], bool]) -> Swept:
        """Take a file aside, and put it back where it is wanted by then."""
        aside = self._aside(path.name)
        with self._alone():
            try:
                os.rename(path, aside)
            except FileNotFoundError:
                return Swept()
            if wanted(aside.stat()):
                self._put_back(aside)
                return Swept()
            size = _sized(aside)
            aside.unlink()
            return size

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While this is held, nobody else takes files aside: what lies there is the holder's."""
        with (self.folder / ".aside").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _put_back(self, aside: Path) -> None:
        os.utime(aside)  # it may take the place of a file that was just written, and has to count as no older
        os.rename(aside, self._path(aside.name.removeprefix(_ASIDE)))

    def _write(self, path: Path, data: bytes) -> Created | None:
        """As `_store`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if self.durable:
                    file.flush()
                    os.fsync(file.fileno())
            created = self._take_name(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        if self.durable:
            self._sync_folder(path.parent)
        return created

    @staticmethod
    def _take_name(partial: str, path: Path) -> Created | None:
        before = time.time() - _BEFORE_SECONDS
        os.utime(partial, (before, before))
        created = Created(path.name, os.stat(partial).st_mtime_ns)
        try:
            os.link(partial, path)
        except OSError:  # somebody else has stored the same meanwhile, or the file system knows no links
            os.utime(partial)
            os.replace(partial, path)
            return None
        os.unlink(partial)
        return created

    @staticmethod
    def _sync_folder(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Provisional:
    """What one request stores before any job names it. `created` are the files that it has made, by reference."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.created: dict[str, Created] = {}

    def put(self, data: bytes) -> str:
        """As `BlobStore.put`."""
        ref = ref_of(data)
        if ref not in self.created and (created := self._blobs._store(ref, data)):
            self.created[ref] = created
        return ref

    def keep(self, ref: str) -> bool:
        """As `BlobStore.keep`. A file that was marked anew is not known as this request's any more: it is left to the
        sweep."""
        self.created.pop(ref, None)
        return self._blobs.keep(ref)


def ref_of(data: bytes) -> str:
    """What names these bytes."""
    return hashlib.sha256(data).hexdigest()


def _sized(path: Path) -> Swept:
    try:
        return Swept(1, path.stat().st_size)
    except FileNotFoundError:
        return Swept()
