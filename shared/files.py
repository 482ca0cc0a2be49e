"""Files that are there as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what is to take the place of `path` once the block has ended well; for one writer at a time."""
    partial = path.with_suffix(".partial")
    yield partial
    partial.replace(path)
