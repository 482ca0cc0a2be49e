"""Pictures that cost the most for their bytes. Each is made with a random source, so that no two are the same."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.conftest import encoded
from tests.shared.pictures import PNG_MAGIC, chunk, exif, mpf, png, segment, webp_of_frames, with_segments

SIDE = 5000  # 25 megapixels, as many as are taken
MOST_SCANNED = 1_000_000_000  # pixels times scans of a JPEG that are taken
ROOM = 10 * 1024 * 1024 - 65536  # bytes of the largest file, less those of a small picture
Make = Callable[[random.Random, float], bytes]
"""Of a random source and of how much there is to be of it, 0 to 1."""


def _side(amount: float) -> int:
    return max(256, int(SIDE * amount**0.5))


def _plane(rng: random.Random, side: int, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Half noise, half a slope: decoders find both hard in their way."""
    generator = np.random.default_rng(rng.randrange(2**32))
    slope = np.arange(side, dtype=np.uint32)[:, None, None] + np.arange(side, dtype=np.uint32)[None, :, None] * 3
    made = np.broadcast_to((slope >> 4).astype(np.uint8), (side, side, channels)).copy()
    made[: side // 16] = generator.integers(0, 256, (side // 16, side, channels), np.uint8)
    return made


def large(mode: str, kind: str, **options: object) -> Make:
    """As many pixels as are taken, in a mode and a kind of file."""

    def make(rng: random.Random, amount: float) -> bytes:
        side, channels = _side(amount), len(Image.new(mode, (1, 1)).getbands())
        plane = _plane(rng, side, channels)
        if mode == "I;16":
            picture = Image.fromarray(plane[:, :, 0].astype(np.uint16) << 8)
        elif mode in ("P", "1"):
            picture = Image.fromarray(plane[:, :, 0]).convert(mode)
        else:
            picture = Image.frombytes(mode, (side, side), plane.tobytes())
        return encoded(picture, kind, **options)

    return make


def interlaced(rng: random.Random, amount: float) -> bytes:
    """A PNG of seven passes, each of whose rows is filtered in the slowest way."""
    side = _side(amount)
    packed = zlib.compressobj(1)
    rows = bytearray()
    for x0, y0, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        width, height = -(-(side - x0) // dx), -(-(side - y0) // dy)
        row = packed.compress((b"\4" + rng.randbytes(64) + bytes(width * 4 - 64)) * height)
        rows += row
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 1)
    data = chunk(b"IDAT", bytes(rows) + packed.flush())
    return PNG_MAGIC + chunk(b"IHDR", header) + data + chunk(b"IEND")


def turned(rng: random.Random, amount: float) -> bytes:
    """A transparent picture that lies on its side: each step of decoding makes another copy."""
    return large("RGBA", "PNG", exif=exif(rng.choice((5, 6, 7, 8))), compress_level=1)(rng, amount)


def scans(rng: random.Random, amount: float) -> bytes:
    """A progressive JPEG whose last scan is repeated, with the segment that has Pillow give the file another name."""
    jpeg = encoded(Image.new("RGB", (SIDE, SIDE), rng.choice(("black", "olive", "teal"))), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return with_segments(jpeg[:-2] + last * max(60, int(rng.randrange(1500, 2500) * amount)) + jpeg[-2:], mpf())


def arithmetic(rng: random.Random, amount: float) -> bytes:
    """A progressive JPEG in arithmetic coding, in as many scans as are taken. Any bytes are coded data there, and a few
    stand for a whole scan."""
    side, components = _side(amount), rng.choice((3, 4))
    count = min(40, int(MOST_SCANNED / side**2))
    frame = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    made = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([1] * 64))
    made += segment(0xCA, struct.pack(">BHHB", 8, side, side, components) + frame)
    first = bytes([components]) + b"".join(bytes([number + 1, 0]) for number in range(components))
    made += segment(0xDA, first + b"\0\0\0") + _coded(rng)
    for number in range(count - 1):
        place = b"\x01" if number < components else b"\x10"  # each bit of the coefficients is sent once, then refined
        made += segment(0xDA, bytes([1, number % components + 1, 0, 1, 63]) + place) + _coded(rng)
    return made + b"\xff\xd9"


def _coded(rng: random.Random) -> bytes:
    return bytes(rng.randrange(60) for _ in range(rng.randrange(1, 12)))


def packed_profiles(rng: random.Random, amount: float) -> bytes:
    """A small PNG with thousands of colour profiles of a megabyte each, which deflate to a kilobyte."""
    body = b"a\0\0" + zlib.compress(bytes([rng.randrange(256)]) * (1 << 20), 9)
    return png(16, 16, chunk(b"iCCP", body) * _many(rng, amount))


def packed_texts(rng: random.Random, amount: float) -> bytes:
    body = b"a\0\1\0\0\0" + zlib.compress(bytes([rng.randrange(32, 127)]) * (1 << 20), 9)
    return png(16, 16, chunk(b"iTXt", body) * _many(rng, amount))


def broken_texts(rng: random.Random, amount: float) -> bytes:
    """Texts that unpack to no text: none of them counts against a decoder's own bound."""
    body = b"a\0\0" + zlib.compress(b"\xff" * (1 << 20), 9)[: -rng.randrange(1, 5)]
    return png(16, 16, (chunk(b"zTXt", body) + chunk(b"iTXt", b"a\0\1\0\0\0" + body[3:])) * (_many(rng, amount) // 2))


def _many(rng: random.Random, amount: float) -> int:
    return int(rng.randrange(8500, 9500) * amount)


def many_chunks(rng: random.Random, amount: float) -> bytes:
    name = bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz") for _ in range(2)) + b"Xx"
    return png(64, 64, chunk(name) * int(ROOM / 12 * amount))


def many_rows(rng: random.Random, amount: float) -> bytes:
    """Pixels for a picture a thousand times as large as the header says."""
    return png(64, 64, rows=bytes([0]) * int((256 << 20) * amount) + rng.randbytes(8))


def stray_bytes(rng: random.Random, amount: float) -> bytes:
    """A JPEG with ten megabytes between two of its segments."""
    jpeg = encoded(Image.new("RGB", (64, 64)), "JPEG")
    stray = rng.choice((b"\xff\x00", b"\xff", b"\xff\xed\x00\x02", b"\xff\xfe\x00\x02"))
    return with_segments(jpeg, stray * int(ROOM / len(stray) * amount))


def many_tables(rng: random.Random, amount: float) -> bytes:
    """Huffman tables that are each built, and of which the last alone is used."""
    jpeg = encoded(Image.new("RGB", (64, 64), (rng.randrange(256), 0, 0)), "JPEG")
    at = jpeg.index(b"\xff\xc4")
    table = jpeg[at : at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")]
    return with_segments(jpeg, table * int(9000 * amount))


def many_frames(rng: random.Random, amount: float) -> bytes:
    return webp_of_frames(int(5000 * amount) + rng.randrange(2, 20))


def large_canvas(rng: random.Random, amount: float) -> bytes:
    """An animation whose canvas is a hundred times as large as its frames."""
    return webp_of_frames(rng.randrange(2, 5), canvas=_side(amount))


def mask(rng: random.Random, amount: float) -> bytes:
    """As large as a picture may be, and deep: 16 bits a pixel, with transparency."""
    side = _side(amount)
    rows = (b"\4" + rng.randbytes(32) + bytes(side * 4 - 32)) * side
    header = struct.pack(">IIBBBBB", side, side, 16, 4, 0, 0, 0)
    return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND")


def beneath(rng: random.Random, amount: float) -> bytes:
    """A picture of the mask's size."""
    return encoded(Image.new("RGB", (_side(amount), _side(amount)), (rng.randrange(256), 9, 9)), "PNG")


def again(data: bytes, rng: random.Random) -> bytes:
    """The same picture as another file: something stands behind it."""
    return data + rng.randbytes(12)


def small(rng: random.Random) -> bytes:
    return encoded(Image.frombytes("RGB", (32, 32), rng.randbytes(32 * 32 * 3)))
