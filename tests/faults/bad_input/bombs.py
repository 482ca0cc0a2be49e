"""Small files that would cost much, and large ones that are sound: none may take 2 s or 1 GiB."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from PIL import Image

from tests.conftest import encoded
from tests.shared.pictures import chunk, jpeg_of_size, png, webp_of_frames

ROOM = 10 * 1024 * 1024 - 4096  # bytes that may still be added to a small file
SIDE = 5000  # 25 megapixels, as much as is taken


def _behind_magic(data: bytes) -> bytes:
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG")
    return jpeg[:2] + data + jpeg[2:]


def _tables() -> bytes:
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG")
    at = jpeg.index(b"\xff\xdb")
    table = jpeg[at : at + 69]
    return _behind_magic(table * (ROOM // len(table)))


def _scans() -> bytes:
    jpeg = encoded(Image.new("RGB", (SIDE, SIDE)), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * 5000 + jpeg[-2:]


def _plain(mode: str, kind: str, **options: object) -> bytes:
    return encoded(Image.new(mode, (SIDE, SIDE)), kind, **options)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG of a million chunks": lambda: png(64, 64, chunk(b"teSt") * (ROOM // 12)),
    "PNG of many texts": lambda: png(64, 64, chunk(b"tEXt", b"a\0b") * (ROOM // 15)),
    "PNG with a packed text of 64 MB": lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20)))),
    "PNG with a packed profile of 256 MB": lambda: png(
        64, 64, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(256 << 20)))
    ),
    "PNG of 65535 x 65535": lambda: png(65535, 65535, rows=bytes(1000)),
    "PNG with more rows than it has": lambda: png(64, 64, rows=bytes(64 << 20)),
    "JPEG of empty comments": lambda: _behind_magic(b"\xff\xfe\x00\x02" * (ROOM // 4)),
    "JPEG of empty segments": lambda: _behind_magic(b"\xff\xed\x00\x02" * (ROOM // 4)),
    "JPEG of fill bytes": lambda: _behind_magic(b"\xff" * ROOM),
    "JPEG of stray bytes": lambda: _behind_magic(b"\xff\x00" * (ROOM // 2)),
    "JPEG of quantisation tables": _tables,
    "JPEG of 5000 scans": _scans,
    "JPEG of 65500 x 65500": lambda: jpeg_of_size(65500, 65500),
    "WebP of 5000 frames": lambda: webp_of_frames(5000),
    "WebP of 16000 x 16000": lambda: webp_of_frames(2, canvas=16000),
    "25 megapixels, RGBA PNG": lambda: _plain("RGBA", "PNG"),
    "25 megapixels, 16-bit PNG": lambda: _plain("I;16", "PNG"),
    "25 megapixels, palette PNG": lambda: _plain("P", "PNG"),
    "25 megapixels, CMYK JPEG": lambda: _plain("CMYK", "JPEG"),
    "25 megapixels, progressive JPEG": lambda: _plain("RGB", "JPEG", progressive=True),
    "25 megapixels, lossless WebP": lambda: _plain("RGBA", "WEBP", lossless=True),
}
