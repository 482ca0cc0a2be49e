"""What may be asked of a picture, by the names of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from client.contract import Picture


class BatchOptions(TypedDict, total=False):
    """Options that many pictures share; `docs/client.md` and the service's own /api/v1/docs explain them."""

    models: Sequence[str]
    methods: Sequence[str]
    target: str | int | None
    contrast: str | int | None
    tree: str | None
    trust: str | None
    idempotency_key: str | None


class Options(BatchOptions, total=False):
    """Options of a submission."""

    mask: Picture | None  # what-if: white where the picture is to be hidden
    fill: str | None
    parent: str | None
    image_url: str | None  # instead of a picture, where the service fetches
    webhook: str | None  # the address to which the ended job is posted, where the service sends
