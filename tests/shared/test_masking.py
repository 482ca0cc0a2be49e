"""Hiding part of a picture: what is white in the mask goes, everything else stays as it was to the last bit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from shared.blobs.blob_store import BlobStore
from shared.errors import ImageTooLarge, InvalidImage
from shared.images.decode import Limits, Photo
from shared.images.masking import GREY, explained_picture, hide, read_explained, read_mask
from shared.jobs import FILLS, ImageRecord, JobOptions
from shared.settings import Settings
from tests.conftest import encoded

LIMITS = Limits.of(Settings())


def mask_of(size: tuple[int, int], box: tuple[int, int, int, int], level: int = 255) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(level, box)
    return mask


def hidden(picture: Image.Image, mask: Image.Image, *, fill: str) -> NDArray[np.uint8]:
    return np.asarray(hide(Photo.whole(picture), mask, fill=fill).pixels)


@pytest.mark.parametrize("fill", FILLS)
@examples(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    seed=st.integers(0, 9),
    share=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_only_what_the_mask_marks_changes(fill: str, width: int, height: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    marked = rng.random((height, width)) < share
    out = hidden(Image.fromarray(pixels), Image.fromarray(np.uint8(marked) * 255), fill=fill)
    assert out.shape == pixels.shape
    assert np.array_equal(out[~marked], pixels[~marked])


def test_each_fill_is_what_its_name_says(photos: dict[str, Image.Image]) -> None:
    picture = photos["chelsea"]
    everything = Image.new("L", picture.size, 255)
    filled = {fill: hidden(picture, everything, fill=fill).astype(float) for fill in FILLS}
    original = np.asarray(picture).astype(float)
    assert (filled["grey"] == GREY).all()
    assert np.allclose(filled["mean"], original.mean((0, 1)), atol=0.5)
    assert np.ptp(filled["mean"], axis=(0, 1)).max() == 0
    blur = filled["blur"]
    assert np.allclose(blur.mean((0, 1)), original.mean((0, 1)), atol=6)
    assert np.abs(np.diff(blur, axis=1)).max() <= 3, "no edge is left"
    assert np.ptp(blur, axis=(0, 1)).min() > 5, "but broad light and shade are"


def test_the_blur_of_a_plain_picture_is_plain() -> None:
    picture = Image.new("RGB", (300, 20), (10, 200, 90))
    assert (hidden(picture, Image.new("L", picture.size, 255), fill="blur") == (10, 200, 90)).all()


def test_a_mask_hides_from_the_middle_grey_up() -> None:
    picture = Image.new("RGB", (2, 1), "red")
    mask = Image.new("L", (2, 1))
    mask.putpixel((0, 0), 127)
    mask.putpixel((1, 0), 128)
    assert hidden(picture, mask, fill="grey").tolist() == [[[255, 0, 0], list(GREY)]]


def test_what_is_transparent_in_a_mask_hides_nothing() -> None:
    painted = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    painted.putpixel((1, 2), (255, 255, 255, 255))
    mask = np.asarray(read_mask(encoded(painted), LIMITS))
    assert mask[2, 1] == 255 and mask.sum() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
def test_masks_of_every_mode_mean_the_same(mode: str) -> None:
    black_and_white = mask_of((8, 6), (2, 1, 5, 4))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(black_and_white).astype(np.uint16) * 257)
    else:
        picture = black_and_white.convert(mode)
    assert np.array_equal(np.asarray(read_mask(encoded(picture), LIMITS)), np.asarray(black_and_white))


def test_a_broken_or_unfit_mask_is_named() -> None:
    with pytest.raises(InvalidImage, match="mask: the picture is damaged"):
        read_mask(encoded(Image.new("L", (50, 50)))[:60], LIMITS)
    with pytest.raises(ImageTooLarge, match="mask: the picture has 50 x 50 pixels"):
        read_mask(encoded(Image.new("L", (50, 50))), Limits(10**6, 100, 100))
    with pytest.raises(InvalidImage, match="mask: it has not the size of the picture"):
        hidden(Image.new("RGB", (4, 4)), Image.new("L", (4, 5)), fill="grey")


def test_the_picture_of_a_job_is_as_uploaded_less_what_its_mask_hides(blobs: BlobStore) -> None:
    picture = Image.new("RGB", (6, 4), "red")
    image = ImageRecord(blobs.put(encoded(picture)), 6, 4, "PNG", "a.png")
    mask = blobs.put(encoded(mask_of((6, 4), (0, 0, 3, 4))))

    def explained(options: JobOptions) -> list[object]:
        seen = explained_picture(blobs, image, options, limits=LIMITS, read=read_explained).pixels
        return [seen.getpixel((0, 0)), seen.getpixel((5, 3))]

    assert explained(JobOptions(("m",))) == [(255, 0, 0)] * 2
    assert explained(JobOptions(("m",), mask=mask, fill="grey")) == [GREY, (255, 0, 0)]


def test_a_mask_lies_over_a_large_photograph_where_it_was_drawn(blobs: BlobStore, large_photo: bytes) -> None:
    size = Image.open(io.BytesIO(large_photo)).size
    image = ImageRecord(blobs.put(large_photo), *size, "JPEG", "a.jpg")
    mask = blobs.put(encoded(mask_of(size, (600, 300, 1400, 1100))))
    before, after = (
        explained_picture(blobs, image, options, limits=LIMITS, read=read_explained)
        for options in (JobOptions(("m",)), JobOptions(("m",), mask=mask, fill="grey"))
    )
    assert after.size == before.size == size and after.pixels.size == before.pixels.size != size
    changed = (np.asarray(before.pixels) != np.asarray(after.pixels)).any(2)
    x0, y0, x1, y1 = before.scaled_box((600, 300, 1400, 1100))
    assert changed[y0:y1, x0:x1].mean() > 0.9 and changed.sum() == changed[y0:y1, x0:x1].sum()
