"""What may be asked of an image, by the names of the service. What is left out is as the service has it by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

Picture = str | Path | bytes
"""A file's path, or the bytes of an image."""


class BatchOptions(TypedDict, total=False):
    """Options that many images share; `docs/client.md` and the service's own /api/v1/docs explain them."""

    models: Sequence[str]
    methods: Sequence[str]
    target: str | int | None
    contrast: str | int | None
    tree: str | None
    trust: str | None
    idempotency_key: str | None  # your own; without one, a new one makes sure that a request sent again is one job


class Options(BatchOptions, total=False):
    """Options of a submission."""

    mask: Picture | None  # what-if: white where the image is to be hidden
    fill: str | None
    parent: str | None
    image_url: str | None  # instead of an image, where the service fetches
    webhook: str | None  # the address to which the ended job is posted, where the service sends
