"""Pictures from strangers: what their header says, and their pixels, both within limits."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.regions import Box
from shared.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")  # of files that are taken for pictures in a folder
_MAGIC = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
}
MOST_PARTS = 10_000  # chunks of a PNG or segments of a JPEG: Pillow reads each in Python, and 10 MiB may hold a million
MOST_SCANNED = 1_000_000_000  # pixels times scans of a JPEG: each scan goes over the whole picture and may be 40 bytes
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # within a scan, where 0xff is data before 0 or a restart
_SCAN, _END = 0xDA, 0xD9
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_ORIENTATION = 0x0112
LONGEST_SIDE = 1024  # of a picture that anybody is shown, in pixels
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}


@dataclass(frozen=True)
class Limits:
    """What a picture may cost. Bytes as uploaded; pixels and sides as its header claims."""

    image_bytes: int
    pixels: int
    side: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.image_bytes, settings.image_pixels, settings.image_side)


@dataclass(frozen=True)
class Photo:
    """An upright RGB picture, perhaps with fewer pixels than its file has: one for each square of `divisor` by
    `divisor`, and for what is left of one at the right and at the bottom."""

    pixels: Image.Image
    size: tuple[int, int]  # width and height as in the file: places in a picture are told in its pixels

    @classmethod
    def whole(cls, pixels: Image.Image) -> Photo:
        return cls(pixels, pixels.size)

    @property
    def divisor(self) -> int:
        return round(self.size[0] / self.pixels.width)

    def place(self, box: Sequence[int]) -> Box:
        """Where a box of the file, x0 y0 x1 y1, lies in `pixels`."""
        x0, y0, x1, y1 = (round(edge / self.divisor) for edge in box)
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Header:
    """What the file says of itself. Width and height are those of the upright picture."""

    format: str
    width: int
    height: int


def read_header(data: bytes, limits: Limits) -> Header:
    """Check size, kind and dimensions without decoding a pixel.

    Raises UnsupportedImage, ImageTooLarge, or InvalidImage.
    """
    kind = _check_kind(data, limits)
    with _as_invalid(), _opened(data, limits) as image:
        width, height = image.size
        if _turn(data, image) in _SIDEWAYS:
            width, height = height, width
        return Header(kind, width, height)


def decode(data: bytes, limits: Limits, *, ground: str = "white") -> Image.Image:
    """The first frame as upright RGB without metadata; transparency is laid on `ground`, 16-bit greys are scaled to 8.

    Raises as above.
    """
    return _decoded(data, limits, ground=ground).pixels


def decode_reduced(data: bytes, limits: Limits) -> Photo:
    """The same for explaining and showing: a large JPEG is read at a half, a quarter or an eighth of its size, as long
    as its shorter side keeps what is shown. At a half that takes half of the time and a quarter of the memory.

    Raises as above.
    """
    return _decoded(data, limits, ground="white", least=LONGEST_SIDE)


def _decoded(data: bytes, limits: Limits, *, ground: str, least: int | None = None) -> Photo:
    _check_kind(data, limits)
    with _as_invalid(), _opened(data, limits) as image:
        image.seek(0)
        width, height = image.size
        if least is not None:
            image.draft(None, (least, least))
        image.load()
        turn = _turn(data, image)
        picture = _to_rgb(image if turn is None else image.transpose(turn), ground)
        picture.info.clear()  # comments and profiles: Pillow would write them again wherever the picture is saved
        return Photo(picture, (height, width) if turn in _SIDEWAYS else (width, height))


def _check_kind(data: bytes, limits: Limits) -> str:
    if not data:
        raise InvalidImage("the file is empty")
    if len(data) > limits.image_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {limits.image_bytes} are taken")
    for kind, magic in _MAGIC.items():
        if magic.match(data):
            if _count_parts(kind, data) > MOST_PARTS:
                raise InvalidImage(f"the file is made of more than {MOST_PARTS} parts")
            return kind
    raise UnsupportedImage("the file is not a JPEG, PNG or WebP picture")


def _count_parts(kind: str, data: bytes) -> int:
    """Parts that Pillow would read one by one, counted until there are too many."""
    if kind == "JPEG":
        return _jpeg_parts(data)[0]
    if kind == "PNG":
        return _png_chunks(data)
    return 0


def _png_chunks(data: bytes) -> int:
    at, count = 8, 0
    while count <= MOST_PARTS and at + 8 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        count += 1
    return count


def _jpeg_parts(data: bytes) -> tuple[int, int]:
    """Segments (and stray bytes between them), and scans among them, of the first picture in the file."""
    at, parts, scans = 2, 0, 0
    while parts <= MOST_PARTS and at + 4 <= len(data):
        parts += 1
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker == _END:
            break
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            if marker == _SCAN:
                scans += 1
                after = _NEXT_MARKER.search(data, at)
                at = after.start() if after else len(data)
    return parts, scans


def _turn(data: bytes, image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright, by its EXIF. Metadata that cannot be read is no reason to refuse the pixels."""
    at = 8  # a PNG may hold the chunk behind its pixels; its own `getexif` would decode them all to see
    while image.format == "PNG" and "exif" not in image.info and at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            image.info["exif"] = data[at + 8 : at + 8 + length]
        at += 12 + length
    try:
        return _TURNS.get(Image.Image.getexif(image).get(_ORIENTATION))
    except Exception:
        return None


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Broken metadata is ignored, see `_turn`, and Pillow's own pixel guard is ours below.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if max(width, height) > limits.side or width * height > limits.pixels:
                allowed = f"at most {limits.pixels} in all and {limits.side} a side are taken"
                raise ImageTooLarge(f"the picture has {width} x {height} pixels; {allowed}")
            if image.format == "JPEG" and _jpeg_parts(data)[1] * width * height > MOST_SCANNED:
                raise InvalidImage("the picture is stored in too many scans for its size")
            yield image


@contextmanager
def _as_invalid() -> Iterator[None]:
    """Decoders raise anything on broken input; all of it means the same to the sender."""
    try:
        yield
    except InvalidImage:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge("the picture has more pixels than are taken") from error
    except (Exception, MemoryError) as error:
        raise InvalidImage("the picture is damaged or incomplete and cannot be decoded") from error


def _to_rgb(image: Image.Image, ground: str) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(np.asarray(image).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, ground), picture).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
