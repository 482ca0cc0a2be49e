"""Picture files taken apart: what is kept decodes to the same pixels, and nothing else is kept."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import InvalidImage
from shared.images.containers import LONGEST_METADATA, MOST_PARTS, Container, take_apart
from tests.conftest import encoded
from tests.shared.pictures import chunk, exif, png

SECRET = b"<script>alert(1)</script>"
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def container(data: bytes) -> Container:
    found = take_apart(data)
    assert found is not None
    return found


def pixels(data: bytes) -> tuple[str, bytes]:
    """Mode and pixels as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, image.tobytes()


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (40, 56, 3), np.uint8))


def with_metadata(kind: str, picture: Image.Image) -> bytes:
    return encoded(picture, kind, exif=exif(6), icc_profile=SECRET, xmp=SECRET, comment=SECRET)


MODES = {
    "JPEG": ("RGB", "L", "CMYK", "1"),
    "PNG": ("RGB", "L", "P", "RGBA", "LA", "1", "I;16"),
    "WEBP": ("RGB", "L", "P", "RGBA", "LA", "CMYK", "1"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_the_pixels_are_those_of_the_whole_file(kind: str, mode: str, picture: Image.Image) -> None:
    data = with_metadata(kind, picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode))
    found = container(data)
    assert found.kind == kind and len(found.data) < len(data)
    assert SECRET not in found.data and b"Exif" not in found.data
    assert pixels(found.data) == pixels(data)


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_of_any_making_keeps_its_pixels(options: dict[str, object], picture: Image.Image) -> None:
    data = encoded(picture, "JPEG", **options)
    assert pixels(container(data).data) == pixels(data)
    assert container(data).scans == (10 if "progressive" in options else 1)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_kept(kind: str, picture: Image.Image) -> None:
    others = [Image.new("RGB", picture.size, (shade, 0, 0)) for shade in range(5)]
    data = encoded(picture, kind, save_all=True, append_images=others, lossless=True)
    found = container(data)
    assert pixels(found.data)[1] == pixels(data)[1]
    with Image.open(io.BytesIO(found.data)) as image:
        assert getattr(image, "n_frames", 1) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_that_of_exif_or_else_of_xmp(kind: str, orientation: int, picture: Image.Image) -> None:
    assert container(encoded(picture, kind, exif=exif(orientation), xmp=XMP % 1)).orientation == orientation
    by_xmp = encoded(picture, kind, xmp=XMP % orientation)
    if kind == "PNG":
        by_xmp = png(2, 2, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % orientation))
    assert container(by_xmp).orientation == orientation


@pytest.mark.parametrize("bad", [b"", b"Exif\0\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", SECRET])
def test_metadata_that_says_nothing_leaves_a_picture_upright(bad: bytes) -> None:
    assert container(png(2, 2, chunk(b"eXIf", bad))).orientation == 1
    assert container(png(2, 2, chunk(b"eXIf", exif(9)[6:]))).orientation == 1


def test_broken_exif_says_nothing_in_the_log(picture: Image.Image) -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\5\0\x12\1\3\0"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert container(encoded(picture, "JPEG", exif=broken)).orientation == 1
    assert said == []


def test_only_the_beginning_of_long_metadata_is_searched() -> None:
    said = b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(LONGEST_METADATA) + XMP % 6
    assert container(png(2, 2, chunk(b"iTXt", said))).orientation == 1


def test_what_follows_a_picture_is_not_kept(picture: Image.Image) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(picture, kind)
        assert container(data + SECRET).data == container(data).data == data


def test_what_is_no_picture_has_no_container() -> None:
    for data in (b"", b"GIF89a", b"<svg/>", b"\xff\xd8", b"RIFF1234WEB"):
        assert take_apart(data) is None


def test_too_many_parts_are_refused(picture: Image.Image) -> None:
    jpeg, webp = encoded(picture, "JPEG"), encoded(picture, "WEBP", exif=exif(1))
    flood = b"abcd\0\0\0\0" * (MOST_PARTS + 1)
    longer = (len(webp) + len(flood) - 8).to_bytes(4, "little")
    for data in (
        jpeg[:2] + b"\xff\xfe\x00\x02" * (MOST_PARTS + 1) + jpeg[2:],
        png(2, 2, chunk(b"teSt") * (MOST_PARTS + 1)),
        webp[:4] + longer + webp[8:] + flood,
    ):
        with pytest.raises(InvalidImage, match="more than 10000 parts"):
            take_apart(data)


@given(st.binary(max_size=300), st.integers(0, 300), st.sampled_from(["JPEG", "PNG", "WEBP"]))
@settings(max_examples=300)
def test_whatever_a_file_holds_its_container_is_found_and_is_its_own(noise: bytes, at: int, kind: str) -> None:
    data = encoded(Image.new("RGB", (8, 8), "red"), kind, exif=exif(3))
    found = take_apart(data[:at] + noise + data[at:])
    if found is not None:
        again = take_apart(found.data)
        if again is None:
            assert found.data == data[:2], "nothing that a decoder could use is left"
            return
        assert (again.kind, again.data, again.scans) == (found.kind, found.data, found.scans)
        assert len(found.data) <= len(data) + len(noise)
