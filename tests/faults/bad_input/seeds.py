"""Real photographs, small but for two, in every kind of file that is taken: the seeds of the mutations."""

from __future__ import annotations

import skimage.data
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from tests.conftest import encoded
from tests.shared.pictures import exif

NAMES = ("chelsea", "coffee", "astronaut", "rocket")
LONGEST_SIDE = 96
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
LARGE = (2048, 2048)  # a JPEG of so many pixels is read with fewer


def seeds() -> list[bytes]:
    """JPEG, PNG and WebP in every mode that each knows, with every EXIF orientation, and with all else that they may
    hold beside their pixels."""
    photos = [Image.fromarray(getattr(skimage.data, name)()) for name in NAMES]
    large = photos[0].resize(LARGE)
    found: list[bytes] = []
    for photo in photos:
        photo.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        transparent = photo.convert("RGBA")
        transparent.putalpha(photo.convert("L"))
        found += [encoded(photo.convert(mode), "PNG") for mode in ("RGB", "L", "1", "P", "LA", "I;16")]
        found += [encoded(photo.convert(mode), "JPEG", quality=80) for mode in ("RGB", "L", "CMYK")]
        found += [encoded(photo, "JPEG", progressive=True), encoded(photo, "JPEG", restart_marker_blocks=2)]
        found += [encoded(photo, "WEBP"), encoded(photo, "WEBP", lossless=True), encoded(transparent, "WEBP")]
        found += [encoded(transparent, "PNG"), encoded(photo, "PNG", optimize=True)]
        found.append(encoded(photo, "WEBP", save_all=True, append_images=[photo.rotate(90)]))
        found.append(encoded(photo, "PNG", save_all=True, append_images=[photo.rotate(90)]))
        for orientation in range(1, 9):
            found += [encoded(photo, kind, exif=exif(orientation)) for kind in ("JPEG", "PNG", "WEBP")]
        found += described(photo)
    return [*found, encoded(large, "JPEG"), encoded(large, "JPEG", progressive=True)]


def described(photo: Image.Image) -> list[bytes]:
    """Files with a colour profile, EXIF, XMP and texts; the first is a telephone's, with a second picture behind it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    known = {"icc_profile": profile, "exif": exif(6)}
    telephone = encoded(photo, "MPO", save_all=True, append_images=[photo.rotate(90)], **known)
    return [
        telephone,
        encoded(photo, "JPEG", xmp=XMP, comment=b"a comment", **known),
        encoded(photo, "PNG", pnginfo=_texts(), **known),
        encoded(photo, "WEBP", xmp=XMP, **known),
    ]


def _texts() -> PngInfo:
    texts = PngInfo()
    texts.add_text("Title", "plain")
    texts.add_text("Comment", "packed " * 100, zip=True)
    texts.add_itxt("Author", "in any language", lang="en", tkey="Author", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return texts
