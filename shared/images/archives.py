"""Archives of pictures from strangers: .zip, .tar and .tar.gz, read entry by entry within bounds.

An entry's name is something to show, never a path: nothing is ever written to where an archive says. What one entry
claims of its size is not believed either: no more than a picture may have is ever read of it, and it counts with what
it claims or with what was read, whichever is more. Pictures hardly shrink when they are packed, so an archive may
unpack to a few times its own size and no more: the work is bounded by what was sent.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, BinaryIO

from shared.errors import BatchTooLarge, InvalidArchive
from shared.images.picture_files import is_clutter

LARGEST_READ = 8 * 1024 * 1024  # of a list of entries or a header, which the readers take in at once
LONGEST_NAME = 120
_CHUNK = 1 << 16
_MAGIC = ((b"PK\x03\x04", 0), (b"PK\x05\x06", 0), (b"\x1f\x8b\x08", 0), (b"ustar", 257))
MAGIC_BYTES = 262  # from its first so many bytes an archive is known
_OTHER_FILES_PER_PICTURE = 2  # folders and leftovers of other systems, which are passed over
UNPACKED_AT_LEAST = 64 * 1024 * 1024  # bytes that any archive may unpack to: many small pictures that are alike
UNPACKED_PER_BYTE = 10  # and so many for each byte of its own


@dataclass(frozen=True)
class Bounds:
    """What an archive may cost: files in it, bytes of one picture, bytes unpacked in all."""

    members: int
    image_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its bytes, or why there are none. `cost` is what it counts in bytes unpacked."""

    name: str
    data: bytes
    fault: str = ""
    cost: int = field(default=0, compare=False)


def is_archive(head: bytes) -> bool:
    """Whether a file that begins so is an archive that is read here."""
    return any(head[at : at + len(magic)] == magic for magic, at in _MAGIC)


def read_archive(
    file: BinaryIO, bounds: Bounds, *, pass_over: Callable[[str], object] = lambda name: None
) -> Iterator[Entry]:
    """The files of an archive in its order, without folders and without what file managers add; `pass_over` is
    called with the name of each of these.

    Raises InvalidArchive where it is damaged or encrypted, BatchTooLarge where it goes past a bound. A link, a file too
    large and a file damaged alone are entries with a fault.
    """
    head = file.read(MAGIC_BYTES)
    if not is_archive(head):
        raise InvalidArchive("the file is not a .zip, .tar or .tar.gz archive")
    allowed = UNPACKED_AT_LEAST + UNPACKED_PER_BYTE * file.seek(0, os.SEEK_END)
    bounds = replace(bounds, total_bytes=min(bounds.total_bytes, allowed))
    file.seek(0)
    if head.startswith(b"PK"):
        return _bounded(_read_zip(file, bounds, pass_over), bounds)
    if head.startswith(b"\x1f\x8b"):
        return _bounded(_read_tar(Unpacked(file, bounds), bounds, pass_over), bounds)
    return _bounded(_read_tar(file, bounds, pass_over), bounds)


def shown_name(name: str) -> str:
    """An entry's name as something to show: relative, printable and capped at its end, which says most."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    joined = "/".join(parts)
    printable = joined if joined.isprintable() else "".join(c for c in joined if c.isprintable())
    return printable[-LONGEST_NAME:] or "picture"


def _bounded(entries: Iterator[Entry], bounds: Bounds) -> Iterator[Entry]:
    count = total = 0
    try:
        for entry in entries:
            count, total = count + 1, total + max(entry.cost, len(entry.data))
            if count > bounds.members:
                raise BatchTooLarge(f"the archive has more than {bounds.members} pictures; send several")
            if total > bounds.total_bytes:
                raise _too_much(bounds)
            yield entry
    except (InvalidArchive, BatchTooLarge):
        raise
    except Exception as error:  # the readers of archives raise anything on broken input
        raise InvalidArchive("the archive is damaged or incomplete") from error


def _read_zip(file: BinaryIO, bounds: Bounds, pass_over: Callable[[str], object]) -> Iterator[Entry]:
    with zipfile.ZipFile(Measured(file)) as archive:
        _few(len(archive.infolist()), bounds)
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise InvalidArchive("the archive is encrypted; send it without a password")
            if info.is_dir():
                continue
            if is_clutter(info.filename):
                pass_over(info.filename)
            else:
                yield _read_zipped(archive, info, bounds)


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bounds: Bounds) -> Entry:
    name = shown_name(info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        return Entry(name, b"", "the file is a link, not a picture")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return Entry(name, b"", "the file is packed by a method that is not taken; use deflate")
    try:
        with archive.open(info) as file:
            return _read_entry(name, file, info.file_size, bounds)
    except Exception:
        return Entry(name, b"", "the file is damaged in the archive", cost=info.file_size)


def _read_tar(file: BinaryIO | Unpacked, bounds: Bounds, pass_over: Callable[[str], object]) -> Iterator[Entry]:
    with tarfile.open(fileobj=Measured(file), mode="r:") as archive:  # type: ignore[call-overload]  # as above
        for count, info in enumerate(archive, 1):
            _few(count, bounds)
            if info.isdir():
                continue
            if is_clutter(info.name):
                pass_over(info.name)
            else:
                yield _read_tarred(archive, info, bounds)


def _read_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo, bounds: Bounds) -> Entry:
    name = shown_name(info.name)
    if info.issym() or info.islnk():
        return Entry(name, b"", "the file is a link, not a picture")
    if info.issparse():  # a header of a few bytes stands for any number of zeros
        return Entry(name, b"", "the file is stored with holes, as no picture needs to be")
    content = archive.extractfile(info)
    if content is None:
        return Entry(name, b"", "the entry is no file")
    return _read_entry(name, content, info.size, bounds)


def _read_entry(name: str, file: IO[bytes], claimed: int, bounds: Bounds) -> Entry:
    too_large = Entry(name, b"", f"the file has more than {bounds.image_bytes} bytes", cost=claimed)
    if claimed > bounds.image_bytes:
        return too_large
    chunks = iter(lambda: file.read(_CHUNK), b"")
    data = b"".join(islice(chunks, bounds.image_bytes // _CHUNK + 1))
    return Entry(name, data, cost=claimed) if len(data) <= bounds.image_bytes else replace(too_large, cost=len(data))


def _too_much(bounds: Bounds) -> BatchTooLarge:
    return BatchTooLarge(f"the archive has more than {bounds.total_bytes} bytes unpacked; send several")


def _few(count: int, bounds: Bounds) -> None:
    if count > bounds.members * (1 + _OTHER_FILES_PER_PICTURE):
        raise BatchTooLarge(f"the archive has more than {bounds.members} pictures; send several")


class Measured:
    """A file of which nobody reads very much at once: a list of entries or a header that long is an attack."""

    def __init__(self, file: BinaryIO | Unpacked) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that is left. Raises BatchTooLarge where that is more than LARGEST_READ."""
        data = self._file.read(LARGEST_READ + 1 if size < 0 else min(size, LARGEST_READ + 1))
        if len(data) > LARGEST_READ:
            raise BatchTooLarge("the archive has a list of files, or the header of one, that is longer than is taken")
        return data

    def seekable(self) -> bool:
        """True: zipfile asks for it."""
        return True

    def readable(self) -> bool:
        """True: zipfile asks for it."""
        return True


class Unpacked:
    """A .gz file as it unpacks, read once and forwards, which is how a tar archive is read; never more of it than is
    allowed."""

    def __init__(self, file: BinaryIO, bounds: Bounds) -> None:
        self._packed = gzip.GzipFile(fileobj=file)
        self._bounds = bounds
        self._at = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes. Raises BatchTooLarge where the archive unpacks to more than its bounds allow."""
        data = self._packed.read(size)
        self._at += len(data)
        if self._at > self._bounds.total_bytes + LARGEST_READ:  # beyond the files there are their headers
            raise _too_much(self._bounds)
        return data

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go forward to a position, in bytes of what is unpacked. Raises InvalidArchive where it lies behind."""
        if whence != os.SEEK_SET or place < self._at:
            raise InvalidArchive("the archive is damaged or incomplete")
        while self._at < place and self.read(min(_CHUNK, place - self._at)):
            """What is passed over is unpacked too."""
        return self._at

    def tell(self) -> int:
        """The position, in bytes of what is unpacked."""
        return self._at
