"""Content-addressed blobs outside Redis: a file's name is the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StorageFailed

_REF = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BlobStore:
    """Blobs in a local folder, which many processes may share. `durable` forces each to the disk before it counts."""

    folder: Path
    durable: bool = False

    def put(self, data: bytes) -> str:
        """Store `data` and return its reference. Raises StorageFailed, leaving no half file."""
        ref = hashlib.sha256(data).hexdigest()
        path = self._path(ref)
        try:
            try:
                os.utime(path)  # marks it as wanted again, so that the collector leaves it alone
            except FileNotFoundError:
                self._write(path, data)
        except OSError as error:
            raise StorageFailed(f"a file could not be stored: {error.strerror}") from error
        return ref

    def get(self, ref: str) -> bytes:
        """The bytes of `ref`. Raises StorageFailed where they are missing or are not what was stored. A damaged file is
        removed, so that the same bytes can be stored anew."""
        try:
            data = self._path(ref).read_bytes()
        except OSError as error:
            raise StorageFailed(f"a stored file cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != ref:
            self.discard(ref)
            raise StorageFailed("a stored file is damaged")
        return data

    def discard(self, ref: str) -> None:
        self._path(ref).unlink(missing_ok=True)

    def untouched_for(self, seconds: float) -> Iterator[str]:
        """References whose file nobody wrote or wanted for so long; abandoned temporary files go on the way."""
        oldest = time.time() - seconds
        for path in self.folder.glob("??/*"):
            try:
                if path.stat().st_mtime > oldest:
                    continue
            except FileNotFoundError:
                continue
            if _REF.fullmatch(path.name):
                yield path.name
            else:
                path.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        stat = os.statvfs(self.folder)
        return stat.f_bavail * stat.f_frsize

    def _path(self, ref: str) -> Path:
        if not _REF.fullmatch(ref):
            raise StorageFailed("not a blob reference")
        return self.folder / ref[:2] / ref

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
