"""The container of a picture file, taken apart: a decoder gets what the pixels need, and nothing else.

Colour profiles, texts, previews and further pictures are used by nothing here, and to read them may cost seconds: a
profile of 1 MiB deflates to a kilobyte, and a file may hold thousands. Of the metadata only the orientation counts.
Where a file breaks off, its last part is kept as it is: to refuse it is the decoder's task.

Formats: JPEG, ITU-T T.81, annex B; PNG, W3C, chapter 5; WebP, RFC 9649.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from PIL import Image

from shared.errors import InvalidImage

HEAD_BYTES = 12  # from its first so many bytes a picture is known
MOST_PARTS = 10_000  # segments of a JPEG, chunks of a PNG or a WebP: each is looked at by itself
LONGEST_METADATA = 1 << 16  # bytes of EXIF or of XMP; a segment of a JPEG holds no more
T = TypeVar("T")

_ORIENTATION = 0x0112
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')

# Of a JPEG, each marker by its second byte.
_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # between segments, where 0xff before 0 or 0xff is passed over
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # within a scan, where 0xff is data before 0 or a restart
_END, _SCAN = 0xD9, 0xDA
_ALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length
_UNUSED = range(0xE0, 0xFF)  # of applications, extensions and comments
_COLOURS = ((0xE0, b"JFIF\0"), (0xEE, b"Adobe"))  # but these say how the colours are stored
_JPEG_EXIF, _JPEG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP1 = 0xE1

_PNG_USED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PNG_XMP = b"XML:com.adobe.xmp\0\0"  # a text that is not compressed

_WEBP_USED = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM"}
_FLAGS_AT = 20  # of the chunk VP8X, which is the first
_METADATA_FLAGS = 0x2C  # it has a profile, EXIF, XMP


@dataclass(frozen=True)
class Container:
    """A picture file taken apart. `data` is a file of the same kind with the first picture's pixels and nothing else;
    `orientation` is what EXIF, or else XMP, says (1 to 8); `scans` is how often a decoder goes over a JPEG's pixels."""

    kind: str
    data: bytes
    orientation: int = 1
    scans: int = 1


@dataclass
class _Metadata:
    """The first EXIF and the first XMP of a file."""

    exif: bytes = b""
    xmp: bytes = b""

    def keep(self, *, exif: bytes = b"", xmp: bytes = b"") -> None:
        self.exif = self.exif or exif[:LONGEST_METADATA]
        self.xmp = self.xmp or xmp[:LONGEST_METADATA]

    @property
    def orientation(self) -> int:
        """1, upright, where nothing says otherwise: metadata that cannot be read is no reason to refuse the pixels."""
        exif = Image.Exif()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a stranger's file makes Pillow say is nothing for a log
            try:
                exif.load(self.exif)
                value = exif.get(_ORIENTATION)
            except Exception:
                value = None
        if value is None and (found := _XMP_ORIENTATION.search(self.xmp)):
            value = int(found[1])
        return value if isinstance(value, int) and 1 <= value <= 8 else 1


def take_apart(data: bytes) -> Container | None:
    """The container of a file; None where it is no JPEG, PNG or WebP. Takes time in proportion to the file's bytes.

    Raises InvalidImage where it has more than `MOST_PARTS` parts.
    """
    read = _reader(data)
    return None if read is None else read(data)


def begins_as_picture(head: bytes) -> bool:
    """Whether a file whose first `HEAD_BYTES` bytes these are looks like a JPEG, PNG or WebP."""
    return _reader(head) is not None


def _reader(data: bytes) -> Callable[[bytes], Container] | None:
    return next((read for beginning, read in _READERS if beginning.match(data)), None)


def _jpeg(data: bytes) -> Container:
    kept, metadata, scans = [data[:2]], _Metadata(), 0
    for marker, begin, end in _few(_segments(data)):
        body = data[begin + 4 : end]
        if marker not in _UNUSED or any(marker == app and body.startswith(name) for app, name in _COLOURS):
            kept.append(data[begin:end])
            scans += marker == _SCAN
        elif marker == _APP1 and body.startswith(_JPEG_EXIF):
            metadata.keep(exif=body.removeprefix(_JPEG_EXIF))
        elif marker == _APP1 and body.startswith(_JPEG_XMP):
            metadata.keep(xmp=body)
    return Container("JPEG", b"".join(kept), metadata.orientation, scans)


def _png(data: bytes) -> Container:
    kept, metadata = [data[:8]], _Metadata()
    for name, begin, end in _few(_png_chunks(data)):
        if name in _PNG_USED:
            kept.append(data[begin:end])
        elif name == b"eXIf":
            metadata.keep(exif=data[begin + 8 : end - 4])
        elif name == b"iTXt" and data.startswith(_PNG_XMP, begin + 8):
            metadata.keep(xmp=data[begin + 8 : end - 4])
    return Container("PNG", b"".join(kept), metadata.orientation)


def _webp(data: bytes) -> Container:
    kept, metadata, frames = [data[:12]], _Metadata(), 0
    for name, begin, end in _few(_webp_chunks(data)):
        if name in _WEBP_USED or (name == b"ANMF" and not frames):
            kept.append(data[begin:end])
            frames += name == b"ANMF"
        elif name == b"EXIF":
            metadata.keep(exif=data[begin + 8 : end].removeprefix(_JPEG_EXIF))
        elif name == b"XMP ":
            metadata.keep(xmp=data[begin + 8 : end])
    missing = max(0, int.from_bytes(data[4:8], "little") + 8 - len(data))
    return Container("WEBP", _riff(b"".join(kept), missing=missing), metadata.orientation)


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Container]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
)


def _few(parts: Iterable[T]) -> Iterator[T]:
    remaining = iter(parts)
    yield from islice(remaining, MOST_PARTS)
    if next(remaining, None) is not None:
        raise InvalidImage(f"the file is made of more than {MOST_PARTS} parts")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker, with where its segment begins and ends, up to the end of the first picture; of a scan with its data.
    What lies between segments belongs to none, and decoders pass it over."""
    at, marker = 2, 0
    while marker != _END and (found := _MARKER.search(data, at)):
        begin, marker = found.start(), data[found.start() + 1]
        at = begin + 2
        if marker not in _ALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
        if marker == _SCAN:
            after = _NEXT_MARKER.search(data, at)
            at = after.start() if after else len(data)
        yield marker, begin, at


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, with where it begins and ends, up to the end of the picture."""
    at, name = 8, b""
    while name != b"IEND" and at + 8 <= len(data):
        begin, name = at, data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        yield name, begin, at


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, with where it begins and ends. Each fills an even number of bytes."""
    at, file_end = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= file_end:
        begin, length = at, int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
        yield data[begin : begin + 4], begin, at


def _riff(data: bytes, *, missing: int) -> bytes:
    """A WebP file that claims no metadata, and as many bytes more than it has as the original did."""
    made = bytearray(data)
    made[4:8] = (len(data) - 8 + missing).to_bytes(4, "little")
    if data[12:16] == b"VP8X" and len(data) > _FLAGS_AT:
        made[_FLAGS_AT] &= ~_METADATA_FLAGS & 0xFF
    return bytes(made)
