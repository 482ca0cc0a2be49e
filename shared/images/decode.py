"""Pictures from strangers: what their header says, and their pixels, both within limits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.images.containers import Container, take_apart
from shared.settings import Settings

MOST_SCANNED = 1_000_000_000  # pixels times scans of a JPEG: each scan goes over the whole picture and may be 40 bytes
_STRIP = 256  # rows that are laid on a ground at a time
LONGEST_SIDE = 1024  # of a picture that anybody is shown, in pixels
_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}

Box = tuple[int, int, int, int]  # x0 y0 x1 y1 in pixels; x1 and y1 lie just outside


@dataclass(frozen=True)
class Limits:
    """What a picture may cost. Bytes as uploaded; pixels and sides as its header claims."""

    image_bytes: int
    pixels: int
    side: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the settings give."""
        return cls(settings.image_bytes, settings.image_pixels, settings.image_side)


@dataclass(frozen=True)
class Photo:
    """An upright RGB picture, perhaps with fewer pixels than its file has: one for each square of `divisor` by
    `divisor`, and for what is left of one at the right and at the bottom."""

    pixels: Image.Image
    size: tuple[int, int]  # width and height as in the file: places in a picture are told in its pixels

    @classmethod
    def whole(cls, pixels: Image.Image) -> Photo:
        """A picture whose pixels are not reduced."""
        return cls(pixels, pixels.size)

    @property
    def divisor(self) -> int:
        return round(self.size[0] / self.pixels.width)

    def shown(self) -> Photo:
        """The same with no more pixels than anybody is shown: its shorter side keeps `LONGEST_SIDE` of them."""
        more = min(self.pixels.size) // LONGEST_SIDE
        return self if more < 2 else replace(self, pixels=self.pixels.reduce(more))

    def scaled_box(self, box: Sequence[int]) -> Box:
        """Where a box of the file, x0 y0 x1 y1, lies in `pixels`."""
        x0, y0, x1, y1 = (round(edge / self.divisor) for edge in box)
        return x0, y0, x1, y1


@dataclass(frozen=True)
class Header:
    """What the file says of itself. Width and height are those of the upright picture."""

    format: str
    width: int
    height: int

    @property
    def is_large(self) -> bool:
        """Whether it takes a core a good part of a second to decode. Of a JPEG a fraction of the pixels is enough."""
        return self.width * self.height > (16_000_000 if self.format == "JPEG" else 4_000_000)


def read_header(data: bytes, limits: Limits) -> Header:
    """Check size, kind and dimensions without decoding a pixel.

    Raises UnsupportedImage, ImageTooLarge, or InvalidImage.
    """
    file = _taken_apart(data, limits)
    with _as_invalid(), _opened(file, limits) as image:
        width, height = image.size
        if _TURNS.get(file.orientation) in _SIDEWAYS:
            width, height = height, width
        return Header(file.kind, width, height)


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
    file = _taken_apart(data, limits)
    turn = _TURNS.get(file.orientation)
    with _as_invalid():
        with _opened(file, limits) as image:
            width, height = image.size
            if least is not None:
                image.draft(None, (least, least))
            image.load()
            picture = _to_rgb(image, ground)
        del image  # a large one is no longer held while it is turned
        picture.info.clear()  # Pillow would write it again wherever the picture is saved
        upright = picture if turn is None else picture.transpose(turn)
        return Photo(upright, (height, width) if turn in _SIDEWAYS else (width, height))


def _taken_apart(data: bytes, limits: Limits) -> Container:
    if not data:
        raise InvalidImage("the file is empty")
    if len(data) > limits.image_bytes:
        raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {limits.image_bytes} are taken")
    file = take_apart(data)
    if file is None:
        raise UnsupportedImage("the file is not a JPEG, PNG or WebP picture")
    return file


@contextmanager
def _opened(file: Container, limits: Limits) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own pixel guard is ours below
        with Image.open(io.BytesIO(file.data), formats=(file.kind,)) as image:
            width, height = image.size
            if max(width, height) > limits.side or width * height > limits.pixels:
                allowed = f"at most {limits.pixels} in all and {limits.side} a side are taken"
                raise ImageTooLarge(f"the picture has {width} x {height} pixels; {allowed}")
            if file.scans * width * height > MOST_SCANNED:
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
    except MemoryError as error:
        raise InvalidImage("the picture takes more memory to decode than a picture may") from error
    except Exception as error:
        raise InvalidImage("the picture is damaged or incomplete and cannot be decoded") from error


def _to_rgb(image: Image.Image, ground: str) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(np.asarray(image).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        return _laid_on(image, ground)
    return image if image.mode == "RGB" else image.convert("RGB")


def _laid_on(image: Image.Image, ground: str) -> Image.Image:
    """A picture with transparent parts, on a ground. Strip by strip: each step over all of 25 megapixels would take 100
    MB more."""
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height))).convert("RGBA")
        whole.paste(Image.alpha_composite(Image.new("RGBA", strip.size, ground), strip), (0, top))
    return whole
