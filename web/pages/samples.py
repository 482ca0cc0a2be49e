"""Images to try, from scikit-image's package: chosen with one click instead of an upload. The verdicts on them are
right, but for the one whose label says otherwise; none shows a person."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

from shared.drawing.maps import jpeg_bytes
from shared.errors import UnknownJob

SAMPLES: Mapping[str, str] = {
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_right.png",
    "hubble": "hubble_deep_field.jpg",  # shows nothing that the models know, which they say
    "horse": "horse.png",  # an outline, which the ImageNet network takes for a dog's: a known mistake, told as one
}
THUMBNAIL = (240, 160)  # pixels


def read(name: str) -> tuple[bytes, str]:
    """A sample's bytes and its file's name. Raises UnknownJob where there is no such sample."""
    path = _path(name)
    return path.read_bytes(), path.name


@cache
def thumbnail(name: str) -> bytes:
    """A small JPEG of a sample, cut to one shape. Raises UnknownJob where there is no such sample."""
    with Image.open(_path(name)) as picture:
        small = ImageOps.fit(picture.convert("RGB"), THUMBNAIL, Image.Resampling.LANCZOS)
    return jpeg_bytes(small, quality=80)


def _path(name: str) -> Path:
    spec = find_spec("skimage")  # found, not imported: only its files are wanted
    if name not in SAMPLES or spec is None or spec.origin is None:
        raise UnknownJob(f"there is no sample {name!r}")
    return Path(spec.origin).parent / "data" / SAMPLES[name]
