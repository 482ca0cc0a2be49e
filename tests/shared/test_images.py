"""Pictures from strangers: every kind that is taken looks as it should, every other is refused by its class."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from shared.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from shared.images.decode import LONGEST_SIDE, Header, Limits, Photo, decode, decode_reduced, read_header
from shared.settings import REPOSITORY, Settings
from tests.conftest import encoded
from tests.shared.pictures import PNG_MAGIC, chunk, chunks, exif, jpeg_of_size, png, webp_of_frames, with_checksums

LIMITS = Limits.of(Settings(home=Path("/nonexistent")))
Pixel = tuple[int, ...]
READERS: tuple[Callable[[bytes, Limits], object], ...] = (read_header, decode, decode_reduced)


def pixels(data: bytes) -> list[Pixel]:
    """The picture's pixels, row by row."""
    picture = decode(data, LIMITS)
    assert picture.mode == "RGB"
    assert (picture.width, picture.height) == (read_header(data, LIMITS).width, read_header(data, LIMITS).height)
    return [tuple(pixel) for pixel in np.asarray(picture).reshape(-1, 3).tolist()]


def painted(mode: str, *values: object) -> Image.Image:
    """A picture of one row with these pixels."""
    picture = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        picture.putpixel((x, 0), value)  # type: ignore[arg-type]
    return picture


def palette(mode: str = "P") -> Image.Image:
    """Red, green and blue by palette, in this order."""
    picture = painted("P", 0, 1, 2)
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return picture.convert(mode) if mode != "P" else picture


@pytest.fixture(scope="module")
def chelsea(photos: dict[str, Image.Image]) -> Image.Image:
    """A cut of the photograph of a cat, wider than high and without any symmetry."""
    return photos["chelsea"].crop((80, 40, 240, 140)).resize((96, 60), Image.Resampling.LANCZOS)


# -- every mode --------------------------------------------------------------------------------------------------------

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)

LOSSLESS = {
    "1": (encoded(painted("1", 0, 255)), [BLACK, WHITE]),
    "1 with one colour transparent": (encoded(painted("1", 0, 255), transparency=0), [WHITE, WHITE]),
    "L": (encoded(painted("L", 0, 77, 255)), [BLACK, (77, 77, 77), WHITE]),
    "L with one grey transparent": (encoded(painted("L", 0, 77), transparency=77), [BLACK, WHITE]),
    "LA": (encoded(painted("LA", (0, 0), (0, 255), (100, 255), (0, 102))), [WHITE, BLACK, (100,) * 3, (153,) * 3]),
    "P": (encoded(palette()), [RED, GREEN, BLUE]),
    "P with one colour transparent": (encoded(palette(), transparency=1), [RED, WHITE, BLUE]),
    "P with alpha": (encoded(palette(), transparency=b"\xff\x00\x33"), [RED, WHITE, (204, 204, 255)]),
    "PA": (encoded(palette("PA"), "WEBP", lossless=True), [RED, GREEN, BLUE]),
    "RGB": (encoded(painted("RGB", (1, 2, 3), RED)), [(1, 2, 3), RED]),
    "RGB with one colour transparent": (encoded(painted("RGB", RED, BLUE), transparency=BLUE), [RED, WHITE]),
    "RGBA": (
        encoded(painted("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 51))),
        [RED, WHITE, (204, 204, 204)],
    ),
    "I;16": (
        encoded(Image.fromarray(np.array([[0, 0x00FF, 0x8000, 0xFFFF]], np.uint16))),
        [BLACK, BLACK, (128,) * 3, WHITE],
    ),
    "RGB of 16 bits": (png(1, 1, depth=16, rows=b"\0\x12\x99\x80\x00\xff\xff"), [(0x12, 0x80, 0xFF)]),
    "grey and alpha of 16 bits": (png(1, 1, depth=16, colour=4, rows=b"\0\x80\x00\xff\xff"), [(128,) * 3]),
    "grey of 2 bits": (png(4, 1, depth=2, colour=0, rows=b"\0\x1b"), [BLACK, (85,) * 3, (170,) * 3, WHITE]),
    "WebP RGB": (encoded(painted("RGB", (1, 2, 3), RED), "WEBP", lossless=True), [(1, 2, 3), RED]),
    "WebP RGBA": (
        encoded(painted("RGBA", (*RED, 255), (*RED, 0), (0, 0, 0, 51)), "WEBP", lossless=True, exact=True),
        [RED, WHITE, (204, 204, 204)],
    ),
    "animated WebP": (
        encoded(painted("RGB", RED), "WEBP", save_all=True, append_images=[painted("RGB", BLUE)], lossless=True),
        [RED],
    ),
    "animated PNG": (encoded(painted("RGB", RED), save_all=True, append_images=[painted("RGB", BLUE)]), [RED]),
    "one pixel": (encoded(painted("RGB", RED)), [RED]),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_every_mode_of_png_and_webp_becomes_the_rgb_that_it_shows(kind: str) -> None:
    data, expected = LOSSLESS[kind]
    assert pixels(data) == expected


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("RGB", (200, 100, 50), (200, 100, 50)),
        ("L", 90, (90, 90, 90)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 255, 0), (255, 255, 0)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_every_mode_of_jpeg_becomes_the_rgb_that_it_shows(mode: str, value: int | Pixel, expected: Pixel) -> None:
    data = encoded(Image.new(mode, (16, 16), value), "JPEG", quality=95)
    assert np.abs(np.array(pixels(data)) - expected).max() <= 4


def test_a_photograph_keeps_its_pixels(chelsea: Image.Image) -> None:
    assert np.array_equal(np.asarray(decode(encoded(chelsea), LIMITS)), np.asarray(chelsea))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_header_says_kind_and_size(kind: str, chelsea: Image.Image) -> None:
    assert read_header(encoded(chelsea, kind), LIMITS) == Header(kind, 96, 60)


def test_a_jpeg_of_several_pictures_is_a_jpeg_and_shows_the_first(chelsea: Image.Image) -> None:
    data = encoded(chelsea, "MPO", save_all=True, append_images=[Image.new("RGB", chelsea.size)])
    assert read_header(data, LIMITS) == Header("JPEG", 96, 60)
    assert np.asarray(decode(data, LIMITS)).mean() > 50


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_header_is_read_without_decoding_a_pixel(
    kind: str, chelsea: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(chelsea, kind)
    decoded: list[object] = []

    def noted(self: object) -> None:
        decoded.append(self)

    for each in (ImageFile.ImageFile, WebPImageFile):
        monkeypatch.setattr(each, "load", noted)
    assert read_header(data, LIMITS) == Header(kind, 96, 60)
    assert decoded == []


# -- reduced -----------------------------------------------------------------------------------------------------------


def test_a_large_photograph_is_read_with_fewer_pixels_and_looks_the_same(large_photo: bytes) -> None:
    whole, reduced = decode(large_photo, LIMITS), decode_reduced(large_photo, LIMITS)
    assert reduced.size == whole.size == (3101, 2069)
    assert reduced.pixels.size == (1551, 1035)
    small = [np.asarray(picture.resize((60, 40))).astype(int) for picture in (whole, reduced.pixels)]
    assert np.abs(small[0] - small[1]).mean() < 1, "of 255 levels"


@pytest.mark.parametrize(
    ("size", "divisor"), [((2048, 2048), 2), ((2047, 3000), 1), ((4096, 1023), 1), ((4096, 5000), 4), ((96, 60), 1)]
)
def test_no_picture_gets_fewer_pixels_than_are_shown(size: tuple[int, int], divisor: int) -> None:
    photo = decode_reduced(encoded(Image.new("RGB", size), "JPEG"), LIMITS)
    assert photo.size == size
    assert photo.pixels.size == tuple(-(-side // divisor) for side in size)
    assert divisor == 1 or min(photo.pixels.size) >= LONGEST_SIDE


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_only_jpeg_can_be_read_with_fewer_pixels(kind: str) -> None:
    photo = decode_reduced(encoded(Image.new("RGB", (2100, 2100)), kind), LIMITS)
    assert photo.pixels.size == photo.size == (2100, 2100)


def test_a_jpeg_of_several_pictures_is_reduced_too() -> None:
    large = Image.new("RGB", (2100, 4200), "red")
    photo = decode_reduced(encoded(large, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))]), LIMITS)
    assert (photo.pixels.size, photo.size) == ((1050, 2100), (2100, 4200))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_photograph_is_upright_and_so_is_its_size(orientation: int, large_photo: bytes) -> None:
    upright = decode(large_photo, LIMITS)
    data = encoded(stored(upright, orientation), "JPEG", quality=95, exif=exif(orientation))
    photo = decode_reduced(data, LIMITS)
    assert (photo.size, photo.pixels.size) == ((3101, 2069), (1551, 1035))
    small = [np.asarray(one.resize((60, 40))).astype(int) for one in (upright, photo.pixels)]
    assert np.abs(small[0] - small[1]).mean() < 3


@pytest.mark.parametrize("box", [(0, 0, 3101, 2069), (516, 0, 2585, 2069), (3100, 2068, 3101, 2069)])
def test_a_box_of_the_file_lies_at_the_same_place_in_fewer_pixels(box: tuple[int, int, int, int]) -> None:
    photo = Photo(Image.new("RGB", (1551, 1035)), (3101, 2069))
    place = photo.scaled_box(box)
    assert all(abs(edge - 2 * near) <= 2 for edge, near in zip(box, place, strict=True))
    assert place[2] <= 1551 and place[3] <= 1035
    assert Photo.whole(Image.new("RGB", (3101, 2069))).scaled_box(box) == box


# -- orientation -------------------------------------------------------------------------------------------------------

STORED_WITH = {  # where the first row and the first column of the file are in the upright picture
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The picture as a camera stores it that says this orientation."""
    first_row, first_column = STORED_WITH[orientation]
    array: NDArray[np.uint8] = np.asarray(upright)
    if first_row in ("left", "right"):
        array = array.transpose(1, 0, 2)
    if first_row in ("bottom", "right"):
        array = array[::-1]
    if first_column in ("bottom", "right"):
        array = array[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(array))


@pytest.mark.parametrize("orientation", STORED_WITH)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_is_the_same_in_every_orientation(kind: str, orientation: int, chelsea: Image.Image) -> None:
    data = encoded(stored(chelsea, orientation), kind, lossless=True, exif=exif(orientation))
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(chelsea))
    assert read_header(data, LIMITS) == Header(kind, 96, 60)


@pytest.mark.parametrize("orientation", STORED_WITH)
def test_a_jpeg_is_the_same_in_every_orientation_but_for_its_compression(
    orientation: int, chelsea: Image.Image
) -> None:
    data = encoded(stored(chelsea, orientation), "JPEG", quality=95, exif=exif(orientation))
    difference = np.abs(np.asarray(decode(data, LIMITS)).astype(int) - np.asarray(chelsea))
    assert difference.mean() < 3
    assert read_header(data, LIMITS) == Header("JPEG", 96, 60)


def test_transparency_is_turned_with_its_picture() -> None:
    data = encoded(palette(), transparency=0, exif=exif(3))
    assert pixels(data) == [BLUE, GREEN, WHITE]


def test_a_png_may_say_its_orientation_behind_its_pixels(chelsea: Image.Image) -> None:
    parts = dict(chunks(encoded(stored(chelsea, 6), exif=exif(6))))
    order = [b"IHDR", b"IDAT", b"eXIf", b"IEND"]
    data = PNG_MAGIC + b"".join(parts[name] for name in order)
    assert read_header(data, LIMITS) == Header("PNG", 96, 60)
    assert np.array_equal(np.asarray(decode(data, LIMITS)), np.asarray(chelsea))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("metadata", "turned"),
    [
        (b"Exif\0\0no tiff at all", False),
        (b"Exif\0\0II*\0", False),
        (exif(6)[:-10], False),
        (exif(0), False),
        (exif(9), False),
        (exif(6, b"\x01\x01\x09\x00\x01\x00\x00\x00\xff\xff\xff\xff"), True),  # a size below zero
    ],
    ids=["garbage", "short", "cut off", "zero", "nine", "another tag broken"],
)
def test_metadata_that_cannot_be_read_is_no_reason_to_refuse_a_picture(
    kind: str, metadata: bytes, turned: bool, chelsea: Image.Image
) -> None:
    data = encoded(chelsea, kind, exif=metadata)
    size = (60, 96) if turned else (96, 60)
    assert decode(data, LIMITS).size == size
    assert read_header(data, LIMITS) == Header(kind, *size)


# -- what is refused ---------------------------------------------------------------------------------------------------

FOREIGN = {
    "text": b"hello",
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "xml": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "gif": encoded(Image.new("P", (4, 4)), "GIF"),
    "tiff": encoded(Image.new("RGB", (4, 4)), "TIFF"),
    "bmp": encoded(Image.new("RGB", (4, 4)), "BMP"),
    "icon": encoded(Image.new("RGB", (16, 16)), "ICO"),
    "jpeg 2000 magic": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "heic": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
    "avif": b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1avif",
    "pdf": b"%PDF-1.7\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "sound": b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40),
    "zip": b"PK\x03\x04" + bytes(30),
    "half a magic": b"\x89PN",
    "half a webp": b"RIFF\x24\x00\x00",
    "a jpeg behind a gif's magic": b"GIF89a" + encoded(Image.new("RGB", (4, 4)), "JPEG"),
    "a png behind a space": b" " + encoded(Image.new("RGB", (4, 4))),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_neither_jpeg_nor_png_nor_webp_is_unsupported(
    kind: str, read: Callable[[bytes, Limits], object]
) -> None:
    with pytest.raises(UnsupportedImage, match="^the file is not a JPEG, PNG or WebP picture$"):
        read(FOREIGN[kind], LIMITS)


@pytest.mark.parametrize("read", READERS)
def test_an_empty_file_is_said_to_be_empty(read: Callable[[bytes, Limits], object]) -> None:
    with pytest.raises(InvalidImage, match="^the file is empty$"):
        read(b"", LIMITS)


BROKEN = {
    "jpeg magic alone": b"\xff\xd8\xff",
    "jpeg magic before html": b"\xff\xd8\xff<script>alert(1)</script>",
    "jpeg magic before a png": b"\xff\xd8\xff" + encoded(Image.new("RGB", (4, 4))),
    "png magic alone": PNG_MAGIC,
    "png magic before a tiff": PNG_MAGIC + encoded(Image.new("RGB", (4, 4)), "TIFF"),
    "png without width": png(0, 4),
    "png without pixels": PNG_MAGIC + chunk(b"IHDR", b"\0\0\0\4\0\0\0\4\x08\2\0\0\0") + chunk(b"IEND"),
    "png of an unknown kind": png(4, 4, colour=5),
    "webp magic alone": b"RIFF\x00\x00\x00\x00WEBP",
    "webp magic before a sound": b"RIFF\x24\x00\x00\x00WEBPfmt " + bytes(40),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_picture_that_only_pretends_is_invalid(kind: str) -> None:
    with pytest.raises(InvalidImage, match="^the picture is damaged or incomplete and cannot be decoded$") as caught:
        decode(BROKEN[kind], LIMITS)
    assert caught.type is InvalidImage


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_picture_is_invalid_not_half_shown(kind: str, share: float, chelsea: Image.Image) -> None:
    data = encoded(chelsea, kind)
    with pytest.raises(InvalidImage, match="damaged or incomplete") as caught:
        decode(data[: int(len(data) * share)], LIMITS)
    assert caught.type is InvalidImage


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"),
        IndexError(),
        AttributeError("x"),
        RecursionError(),
        SyntaxError(),
        OSError("x"),
    ],
)
def test_whatever_a_decoder_raises_means_an_invalid_picture(
    error: Exception, read: Callable[[bytes, Limits], object], chelsea: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(InvalidImage, match="^the picture is damaged or incomplete and cannot be decoded$"):
        read(encoded(chelsea), LIMITS)


def test_a_picture_for_which_there_is_no_memory_is_refused_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", broken)
    for read in READERS:
        with pytest.raises(InvalidImage, match="takes more memory to decode than a picture may"):
            read(png(9, 9), LIMITS)


@pytest.mark.parametrize("read", READERS)
def test_no_decoder_but_the_three_is_ever_tried(
    read: Callable[[bytes, Limits], object], chelsea: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[object] = []
    real = Image.open

    def spied(fp: io.BytesIO, **options: Any) -> Image.Image:
        tried.append(options.get("formats"))
        return real(fp, **options)

    monkeypatch.setattr(Image, "open", spied)
    read(encoded(chelsea), LIMITS)
    assert tried == [("PNG",)]


def test_a_picture_with_something_behind_it_is_taken_and_nothing_of_that_is_kept(chelsea: Image.Image) -> None:
    hidden = b"<script>alert(1)</script>"
    for kind in ("JPEG", "PNG"):
        data = encoded(chelsea, kind)
        assert np.array_equal(np.asarray(decode(data + hidden, LIMITS)), np.asarray(decode(data, LIMITS)))
        assert hidden not in encoded(decode(data + hidden, LIMITS), kind)


SECRET = b"<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("kind", "metadata"),
    [
        ("JPEG", {"comment": SECRET, "icc_profile": SECRET, "xmp": SECRET}),
        ("PNG", {"icc_profile": SECRET}),
        ("WEBP", {"icc_profile": SECRET, "xmp": SECRET}),
    ],
    ids=["jpeg", "png", "webp"],
)
def test_nothing_but_pixels_is_handed_on_when_a_picture_is_saved_again(
    kind: str, metadata: dict[str, object], chelsea: Image.Image
) -> None:
    picture = decode(encoded(chelsea, kind, exif=exif(1), **metadata), LIMITS)
    assert picture.info == {}
    for again in ("JPEG", "PNG", "WEBP"):
        bare = Image.fromarray(np.asarray(picture))
        assert encoded(picture, again) == encoded(bare, again)


@pytest.mark.parametrize("read", READERS)
def test_too_many_bytes_are_refused_before_anything_is_read(read: Callable[[bytes, Limits], object]) -> None:
    small = Limits(image_bytes=100, pixels=LIMITS.pixels, side=LIMITS.side)
    with pytest.raises(ImageTooLarge, match="^the picture has 101 bytes; at most 100 are taken$"):
        read(b"x" * 101, small)
    with pytest.raises(UnsupportedImage):
        read(b"x" * 100, small)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "data",
    [png(8193, 1), png(1, 8193), jpeg_of_size(5001, 5000), webp_of_frames(2, canvas=5001), jpeg_of_size(5000, 5001)],
    ids=["too wide", "too high", "too many pixels", "too large a canvas", "too many pixels upright"],
)
def test_too_many_pixels_are_refused_by_the_header(data: bytes, read: Callable[[bytes, Limits], object]) -> None:
    with pytest.raises(ImageTooLarge, match=r"pixels; at most 25000000 in all and 8192 a side are taken$"):
        read(data, LIMITS)


def test_the_largest_allowed_sides_are_taken() -> None:
    assert read_header(png(8192, 1), LIMITS) == Header("PNG", 8192, 1)
    assert decode(png(1, 8192), LIMITS).size == (1, 8192)
    assert read_header(jpeg_of_size(5000, 5000), LIMITS) == Header("JPEG", 5000, 5000)


# -- bombs -------------------------------------------------------------------------------------------------------------

ZEROS = zlib.compress(bytes(100 << 20), 9)
MEBIBYTE = zlib.compress(bytes(1 << 20), 9)
BOMBS = {
    "65535 pixels a side": (png(65535, 65535, rows=b""), "ImageTooLarge"),
    "30000 pixels a side": (png(30000, 30000, rows=b""), "ImageTooLarge"),
    "65500 pixels a side": (jpeg_of_size(65500, 65500), "ImageTooLarge"),
    "16383 pixels of canvas": (webp_of_frames(2, canvas=16383), "ImageTooLarge"),
    "a text of 100 MB": (png(4, 4, chunk(b"zTXt", b"a\0\0" + ZEROS)), "taken"),
    "a profile of 100 MB": (png(4, 4, chunk(b"iCCP", b"a\0\0" + ZEROS)), "taken"),
    "9,000 profiles of 1 MiB": (png(16, 16, chunk(b"iCCP", b"a\0\0" + MEBIBYTE) * 9000), "taken"),
    "9,000 texts of 1 MiB": (png(16, 16, chunk(b"iTXt", b"a\0\1\0\0\0" + MEBIBYTE) * 9000), "taken"),
    "9,000 texts that are none": (png(16, 16, chunk(b"iTXt", b"a\0\1\0\0\0" + MEBIBYTE[:-9]) * 9000), "taken"),
    "many texts of 1 MB": (
        png(4, 4, *(chunk(b"zTXt", b"a%d\0\0" % i + zlib.compress(bytes(1_000_000), 9)) for i in range(200))),
        "taken",
    ),
    "100 MB of rows for 4": (png(4, 4)[:33] + chunk(b"IDAT", ZEROS) + chunk(b"IEND"), "taken"),
    "5000 frames": (webp_of_frames(5000), "taken"),
}

MEASURE = """
import json, resource, sys, time
from pathlib import Path
from shared.errors import InvalidImage
from shared.images.decode import Limits, decode_reduced, read_header
from shared.settings import Settings

limits = Limits.of(Settings(home=Path("/nonexistent")))
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answers = []
    for read in (read_header, decode_reduced):
        try:
            read(data, limits)
            answers.append("taken")
        except InvalidImage as error:
            answers.append(type(error).__name__)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps([answers[-1], time.process_time() - began, grown]))
"""


def test_bombs_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    paths = []
    for i, (data, _) in enumerate(BOMBS.values()):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(data)
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    lines = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    for (name, (_, expected)), line in zip(BOMBS.items(), lines, strict=True):
        answer, seconds, megabytes = json.loads(line)
        assert answer == expected, name
        assert seconds < 1, name
        assert megabytes < 100, name


# -- mutations ---------------------------------------------------------------------------------------------------------


def mutated(data: bytes, dice: np.random.Generator) -> bytes:
    """Some bytes changed, a stretch lost, doubled or moved, or the end cut off."""
    at, to = sorted(int(i) for i in dice.integers(0, len(data) + 1, size=2))
    match int(dice.integers(5)):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:to] + data[at:]
        case 3:
            return data[:8] + data[to:] + data[at:to] + data[8:at]
        case _:
            changed = bytearray(data)
            for place in dice.integers(0, len(data), size=int(dice.integers(1, 8))):
                changed[place] = int(dice.integers(256))
            return bytes(changed)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"exif": exif(6)}),
        ("JPEG", {"progressive": True}),
        ("PNG", {"exif": exif(6)}),
        ("WEBP", {"exif": exif(6)}),
        ("WEBP", {"lossless": True}),
    ],
    ids=["jpeg", "progressive jpeg", "png", "webp", "lossless webp"],
)
def test_a_mutated_photograph_is_a_picture_or_an_invalid_one(
    kind: str, options: dict[str, object], chelsea: Image.Image
) -> None:
    dice = np.random.default_rng(24)
    data = encoded(chelsea, kind, **options)
    taken = 0
    for _ in range(200):
        bad = mutated(data, dice)
        if kind == "PNG" and dice.integers(2):
            bad = with_checksums(bad)
        sizes = []
        try:
            header = read_header(bad, LIMITS)
            sizes.append((header.width, header.height))
        except InvalidImage:
            pass
        try:
            picture = decode(bad, LIMITS)
        except InvalidImage:
            continue
        taken += 1
        assert picture.mode == "RGB"
        assert sizes == [picture.size], "whatever decodes has a header that says so"
    assert 0 < taken < 200


def test_a_decoded_picture_needs_its_file_no_more(chelsea: Image.Image) -> None:
    picture = decode(encoded(chelsea), LIMITS)
    picture.thumbnail((10, 10))
    assert picture.size == (10, 6)


def test_a_file_of_too_many_parts_is_refused_before_pillow_reads_them_one_by_one(chelsea: Image.Image) -> None:
    jpeg = encoded(chelsea, "JPEG")
    floods = {
        "chunks": png(8, 8, chunk(b"teSt") * 20_000),
        "segments": jpeg[:2] + b"\xff\xfe\x00\x02" * 20_000 + jpeg[2:],
    }
    for data in floods.values():
        with pytest.raises(InvalidImage, match="more than 10000 parts"):
            read_header(data, LIMITS)
    assert read_header(jpeg[:2] + b"\xff\xfe\x00\x02" * 5000 + jpeg[2:], LIMITS).width == chelsea.width
    assert read_header(jpeg[:2] + b"\xff" * 1_000_000 + jpeg[2:], LIMITS).width == chelsea.width


# Says, as telephones do, that the file holds several pictures: Pillow then calls it by another name.
MPF = (
    b"\xff\xe2\x00\x58MPF\0MM\x00\x2a\x00\x00\x00\x08\x00\x03"
    b"\xb0\x00\x00\x07\x00\x00\x00\x040100"
    b"\xb0\x01\x00\x04\x00\x00\x00\x01\x00\x00\x00\x02"
    b"\xb0\x02\x00\x07\x00\x00\x00\x20\x00\x00\x00\x32" + bytes(36)
)


def test_scans_that_would_take_minutes_are_refused_and_a_progressive_picture_is_not(chelsea: Image.Image) -> None:
    large = encoded(Image.new("RGB", (5000, 5000)), "JPEG", progressive=True)
    scan = large[large.rindex(b"\xff\xda") : -2]
    assert read_header(large, LIMITS).width == 5000
    with pytest.raises(InvalidImage, match="too many scans"):
        read_header(large[:-2] + scan * 100 + large[-2:], LIMITS)
    several = large[:2] + MPF + large[2:-2] + scan * 2000 + large[-2:]
    for read in READERS:
        with pytest.raises(InvalidImage, match="too many scans"):
            read(several, LIMITS)
    behind = encoded(chelsea, "JPEG", progressive=True) + large * 50  # what follows the picture is none of it
    assert decode(behind, LIMITS).size == chelsea.size


def test_what_is_transparent_is_laid_on_its_ground_in_every_strip() -> None:
    levels = np.random.default_rng(0).integers(0, 255, (700, 3, 4), np.uint8)
    picture = Image.fromarray(levels, "RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    assert decode(encoded(picture), LIMITS).tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("size", "shown", "divisor"),
    [((2047, 5000), (2047, 5000), 1), ((2048, 5001), (1024, 2501), 2), ((5000, 4999), (1250, 1250), 4)],
)
def test_of_a_picture_no_more_pixels_are_shown_than_anybody_sees(
    size: tuple[int, int], shown: tuple[int, int], divisor: int
) -> None:
    photo = Photo.whole(Image.new("RGB", size)).shown()
    assert (photo.pixels.size, photo.size, photo.divisor) == (shown, size, divisor)


@pytest.mark.parametrize(
    ("kind", "side", "large"),
    [("PNG", 2000, False), ("PNG", 2001, True), ("WEBP", 2001, True), ("JPEG", 4000, False), ("JPEG", 4001, True)],
)
def test_a_picture_is_large_where_it_takes_long_to_decode(kind: str, side: int, large: bool) -> None:
    assert Header(kind, side, side).is_large == large
