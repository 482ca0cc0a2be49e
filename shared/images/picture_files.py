"""Which files of a folder, a pattern or an archive are pictures: one rule, wherever they lie."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from shared.images.containers import HEAD_BYTES, begins_as_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CLUTTER = "left by file managers"


def is_clutter(name: str) -> bool:
    """Whether a file is what file managers add beside pictures, by its name with those of its folders."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"


def is_picture(name: str, head: bytes) -> bool:
    """Whether a file is taken for a picture: by its name, even where it turns out to be broken, or by how it begins."""
    return not is_clutter(name) and (_suffix(name) in SUFFIXES or begins_as_picture(head))


def is_picture_file(file: Path, name: str) -> bool:
    """The same of a file on this machine, which is looked into only where its name does not say it."""
    return is_picture(name, b"") or is_picture(name, _head(file))


def kind_of(name: str) -> str:
    """What a file that is passed over is, in a word or two: `.tif`."""
    return CLUTTER if is_clutter(name) else _suffix(name) or "without a suffix"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(HEAD_BYTES)
    except OSError:
        return b""
