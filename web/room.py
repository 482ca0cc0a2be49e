"""Room on the disk: whether more pictures are taken. What is kept free is for the results of jobs already accepted."""

from __future__ import annotations

from shared.blobs import BlobStore
from shared.errors import QueueFull
from shared.settings import Settings


def room(blobs: BlobStore, settings: Settings) -> int:
    """How many bytes the disk has left for pictures; below 0 where it is to take no more."""
    return blobs.free_bytes() - settings.disk_reserve_bytes


def has_room(blobs: BlobStore, settings: Settings) -> bool:
    return room(blobs, settings) >= 0


def require_room(blobs: BlobStore, settings: Settings) -> None:
    """Raises QueueFull where the disk is to take no more pictures."""
    if not has_room(blobs, settings):
        raise QueueFull("the disk has no room for more pictures; try again when it has")
