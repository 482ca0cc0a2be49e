"""Archives of pictures from strangers: .zip, .tar and .tar.gz, read entry by entry within bounds.

An entry's name is something to show, never a path: nothing is ever written to where an archive says. What one entry
claims of its size is not believed either; no more than a picture may have is ever read of it.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from shared.errors import BatchTooLarge, InvalidArchive

LARGEST_READ = 8 * 1024 * 1024  # of a list of entries or a header, which the readers take in at once
LONGEST_NAME = 120
_CHUNK = 1 << 16
_MAGIC = ((b"PK\x03\x04", 0), (b"PK\x05\x06", 0), (b"\x1f\x8b\x08", 0), (b"ustar", 257))
MAGIC_BYTES = 262  # from its first so many bytes an archive is known
_OTHER_FILES_PER_PICTURE = 2  # folders and leftovers of other systems, which are passed over


@dataclass(frozen=True)
class Bounds:
    """What an archive may cost: files in it, bytes of one picture, bytes unpacked in all."""

    members: int
    image_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its bytes, or why there are none."""

    name: str
    data: bytes
    fault: str = ""


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is an archive that is read here."""
    return any(head[at : at + len(magic)] == magic for magic, at in _MAGIC)


def read_archive(file: BinaryIO, bounds: Bounds) -> Iterator[Entry]:
    """The files of an archive in its order, without folders and without what macOS and hidden files add.

    Raises InvalidArchive where it is damaged or encrypted, BatchTooLarge where it goes past a bound. A link, a file too
    large and a file damaged alone are entries with a fault.
    """
    head = file.read(MAGIC_BYTES)
    file.seek(0)
    if not is_archive(head):
        raise InvalidArchive("the file is not a .zip, .tar or .tar.gz archive")
    entries = _read_zip(file, bounds) if head.startswith(b"PK") else _read_tar_or_gzip(file, head, bounds)
    return _bounded(entries, bounds)


def shown_name(name: str) -> str:
    """An entry's name as something to show: relative, printable and capped at its end, which says most."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "".join(c for c in "/".join(parts) if c.isprintable())[-LONGEST_NAME:] or "picture"


def _bounded(entries: Iterator[Entry], bounds: Bounds) -> Iterator[Entry]:
    count = total = 0
    try:
        for entry in entries:
            count, total = count + 1, total + len(entry.data)
            if count > bounds.members:
                raise BatchTooLarge(f"the archive has more than {bounds.members} pictures; send several")
            if total > bounds.total_bytes:
                raise BatchTooLarge(f"the archive has more than {bounds.total_bytes} bytes unpacked; send several")
            yield entry
    except (InvalidArchive, BatchTooLarge):
        raise
    except Exception as error:  # the readers of archives raise anything on broken input
        raise InvalidArchive("the archive is damaged or incomplete") from error


def _read_zip(file: BinaryIO, bounds: Bounds) -> Iterator[Entry]:
    with zipfile.ZipFile(Measured(file)) as archive:
        _few(len(archive.infolist()), bounds)
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise InvalidArchive("the archive is encrypted; send it without a password")
            if not info.is_dir() and not _is_clutter(info.filename):
                yield _read_zipped(archive, info, bounds)


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bounds: Bounds) -> Entry:
    name = shown_name(info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        return Entry(name, b"", "the file is a link, not a picture")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Entry(name, b"", "the file is packed by a method that is not taken; use deflate")
    try:
        with archive.open(info) as file:
            return _read_entry(name, file, bounds)
    except Exception:
        return Entry(name, b"", "the file is damaged in the archive")


def _read_tar_or_gzip(file: BinaryIO, head: bytes, bounds: Bounds) -> Iterator[Entry]:
    if not head.startswith(b"\x1f\x8b"):
        yield from _read_tar(file, bounds)
        return
    with tempfile.TemporaryFile() as unpacked:
        with gzip.GzipFile(fileobj=file) as packed:
            while chunk := packed.read(_CHUNK):
                if unpacked.tell() + len(chunk) > bounds.total_bytes:
                    raise BatchTooLarge(f"the archive has more than {bounds.total_bytes} bytes unpacked; send several")
                unpacked.write(chunk)
        unpacked.seek(0)
        yield from _read_tar(unpacked, bounds)


def _read_tar(file: BinaryIO, bounds: Bounds) -> Iterator[Entry]:
    with tarfile.open(fileobj=Measured(file), mode="r:") as archive:  # type: ignore[call-overload]  # as above
        for count, info in enumerate(archive, 1):
            _few(count, bounds)
            name = shown_name(info.name)
            if info.issym() or info.islnk():
                yield Entry(name, b"", "the file is a link, not a picture")
            elif info.isfile() and not _is_clutter(info.name):
                content = archive.extractfile(info)
                assert content is not None  # of a plain file there is one
                yield _read_entry(name, content, bounds)


def _read_entry(name: str, file: IO[bytes], bounds: Bounds) -> Entry:
    data = b""
    while chunk := file.read(_CHUNK):
        data += chunk
        if len(data) > bounds.image_bytes:
            return Entry(name, b"", f"the file has more than {bounds.image_bytes} bytes")
    return Entry(name, data)


def _few(count: int, bounds: Bounds) -> None:
    if count > bounds.members * (1 + _OTHER_FILES_PER_PICTURE):
        raise BatchTooLarge(f"the archive has more than {bounds.members} pictures; send several")


def _is_clutter(name: str) -> bool:
    """What file managers add beside pictures."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"


class Measured:
    """A file of which nobody reads very much at once: a list of entries or a header that long is an attack."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(LARGEST_READ + 1 if size < 0 else min(size, LARGEST_READ + 1))
        if len(data) > LARGEST_READ:
            raise BatchTooLarge("the archive has a list of files, or the header of one, that is longer than is taken")
        return data

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
