"""What if a part of the picture were not there? A mask says which part, a fill what it becomes.

No torch: the page draws its overlays over the same picture that the worker explains.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from PIL import Image, ImageFilter, ImageStat

from shared.blobs.blob_store import BlobStore
from shared.errors import InvalidImage
from shared.images.decode import Limits, Photo, decode, decode_reduced
from shared.jobs import ImageRecord, JobOptions

GREY = (128, 128, 128)
# Standard deviation of the blur as a share of the shorter side: what faithfulness hides parts of a picture with.
BLUR = 1 / 4
_BLURRED_SIDE = 128  # so strong a blur leaves nothing that more pixels would show
_HIDDEN_FROM = 128  # the grey level from which a mask hides


T_co = TypeVar("T_co", covariant=True)


class Read(Protocol[T_co]):
    """As `read_explained`, here or in another process, and what it makes of the picture."""

    def __call__(self, data: bytes, mask: bytes | None, limits: Limits, *, fill: str) -> T_co: ...


def read_explained(data: bytes, mask: bytes | None, limits: Limits, *, fill: str) -> Photo:
    """A picture less what its mask hides, from the files' bytes. Raises InvalidImage."""
    photo = decode_reduced(data, limits)
    if mask is None:
        return photo
    return hide(photo, read_mask(mask, limits), fill=fill)


def explained_picture(
    blobs: BlobStore, image: ImageRecord, options: JobOptions, *, limits: Limits, read: Read[T_co]
) -> T_co:
    """The picture that a job is about: as uploaded, less what its mask hides, as `read` makes it of the files. Raises
    StorageFailed, InvalidImage."""
    mask = None if options.mask is None else blobs.get(options.mask)
    return read(blobs.get(image.sha256), mask, limits, fill=options.fill)


def read_mask(data: bytes, limits: Limits) -> Image.Image:
    """A mask as grey levels; what is transparent in it hides nothing. Raises InvalidImage."""
    try:
        return decode(data, limits, ground="black").convert("L")
    except InvalidImage as error:
        raise type(error)(f"mask: {error}") from error


def hide(photo: Photo, mask: Image.Image, *, fill: str) -> Photo:
    """The picture with `fill` where the mask, of its file's size, is white. Raises InvalidImage where sizes differ."""
    if mask.size != photo.size:
        raise InvalidImage("mask: it has not the size of the picture")
    hidden = mask.reduce(photo.divisor).point(lambda level: 255 * (level >= _HIDDEN_FROM))
    return replace(photo, pixels=Image.composite(_FILLS[fill](photo.pixels), photo.pixels, hidden))


def _blurred(picture: Image.Image) -> Image.Image:
    factor = min(1.0, _BLURRED_SIDE / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    blurred = small.filter(ImageFilter.GaussianBlur(min(size) * BLUR))
    return blurred.resize(picture.size, Image.Resampling.BICUBIC)


def _mean(picture: Image.Image) -> Image.Image:
    red, green, blue = (round(mean) for mean in ImageStat.Stat(picture).mean)
    return Image.new("RGB", picture.size, (red, green, blue))


def _grey(picture: Image.Image) -> Image.Image:
    return Image.new("RGB", picture.size, GREY)


_FILLS = {"blur": _blurred, "mean": _mean, "grey": _grey}
