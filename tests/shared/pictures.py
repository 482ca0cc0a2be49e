"""Picture files built byte by byte, for what no encoder writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.conftest import encoded

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *before: bytes, depth: int = 8, colour: int = 2, rows: bytes | None = None) -> bytes:
    """A PNG with chunks of our own. `rows` are the unpacked rows, each begun by its filter byte; by default black."""
    if rows is None:
        rows = (b"\0" + bytes(width * 3)) * height
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return PNG_MAGIC + chunk(b"IHDR", header) + b"".join(before) + pixels + chunk(b"IEND")


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG: name, and all bytes with length and checksum."""
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at : at + 12 + length]
        at += 12 + length


def with_checksums(data: bytes) -> bytes:
    """The same bytes as far as they can be read as chunks, each with the checksum that its bytes have."""
    return PNG_MAGIC + b"".join(chunk(name, part[8:-4]) for name, part in chunks(data) if len(part) >= 12)


def exif(orientation: int, *more: bytes) -> bytes:
    """EXIF with an orientation, and further entries of 12 bytes."""
    entries = [struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0), *more]
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def segment(marker: int, body: bytes) -> bytes:
    """One of a JPEG, by the second byte of its marker."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments of our own before all others."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def mpf() -> bytes:
    """The segment by which telephones say that further pictures follow: an index of two, of which there is one."""
    entries = b"".join(struct.pack("<IIIHH", 0x030000, 1000, 0, 0, 0) for _ in range(2))
    fields = [
        struct.pack("<HHI4s", 0xB000, 7, 4, b"0100"),
        struct.pack("<HHII", 0xB001, 4, 1, 2),
        struct.pack("<HHII", 0xB002, 7, len(entries), 50),
    ]
    directory = struct.pack("<H", len(fields)) + b"".join(fields) + bytes(4)
    return segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + directory + entries)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = encoded(Image.new("RGB", (16, 16)), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp_of_frames(count: int, *, canvas: int | None = None) -> bytes:
    """An animated WebP of `count` frames, whose header may claim another canvas."""
    first, second = Image.new("RGB", (16, 16), "blue"), Image.new("RGB", (16, 16), "red")
    data = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    last = data.index(b"ANMF", data.index(b"ANMF") + 4)
    body = bytearray(data[8:last] + data[last:] * (count - 1))
    if canvas is not None:
        at = body.index(b"VP8X") + 12
        body[at : at + 6] = (canvas - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body)) + bytes(body)
