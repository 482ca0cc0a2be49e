"""What networks see of a picture: one square for each kind of input. No torch: decoders, which are processes of their
own, reduce pictures to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.cards.card import InputSpec
from shared.images.decode import Box, Photo

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Squares:
    """A picture as some networks see it; less to send from process to process than all of its pixels."""

    size: tuple[int, int]  # width and height of the picture in its file
    levels: Mapping[InputSpec, NDArray[np.uint8]]  # by input of a network, crop x crop x 3

    @classmethod
    def of(cls, photo: Photo, specs: Iterable[InputSpec]) -> Squares:
        """The squares of a picture for some inputs."""
        return cls(photo.size, {spec: visible_square(photo, spec) for spec in specs})


Seen = Photo | Squares  # a picture that networks can look at: all of them, or those whose squares there are


def crop_box(width: int, height: int, spec: InputSpec) -> Box:
    """The part of a picture that the network sees, x0 y0 x1 y1 in pixels: the centre square, less what a crop
    smaller than the resized shorter side cuts off."""
    side = min(width, height) * spec.crop / spec.resize
    x0, y0 = (width - side) / 2, (height - side) / 2
    return round(x0), round(y0), round(x0 + side), round(y0 + side)


def visible_square(seen: Seen, spec: InputSpec) -> NDArray[np.uint8]:
    """The square of a picture that the network sees, crop x crop x 3. Raises KeyError where none is of this input.

    It is reduced to `crop` pixels with an antialiasing filter and only then enlarged to `size`: a network trained on
    small pictures must see a large photograph through the same low-pass.
    """
    if isinstance(seen, Squares):
        return seen.levels[spec]
    x0, y0, x1, y1 = crop_box(*seen.size, spec)
    edges = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
    left, top, right, bottom = (edge / seen.divisor for edge in edges)
    box = (left, top, right, bottom)
    return np.asarray(seen.pixels.resize((spec.crop, spec.crop), FILTERS[spec.interpolation], box=box))
