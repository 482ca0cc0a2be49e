"""Which files of a folder, a pattern or an archive are pictures: one rule, wherever they lie."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
HEAD_BYTES = 12  # from its first so many bytes a picture is known
CLUTTER = "left by file managers"
_BEGINNING = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF.{4}WEBP", re.DOTALL)


def is_clutter(name: str) -> bool:
    """Whether a file is what file managers add beside pictures, by its name with those of its folders."""
    parts = name.replace("\\", "/").split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1] == "Thumbs.db"


def is_picture(name: str, head: bytes) -> bool:
    """Whether a file is taken for a picture: by its name, even where it turns out to be broken, or by how it begins."""
    return not is_clutter(name) and (_suffix(name) in SUFFIXES or _BEGINNING.match(head) is not None)


def is_picture_file(file: Path, name: str) -> bool:
    """The same of a file on this machine, which is looked into only where its name does not say it."""
    if is_clutter(name) or _suffix(name) in SUFFIXES:
        return not is_clutter(name)
    try:
        with file.open("rb") as opened:
            return is_picture(name, opened.read(HEAD_BYTES))
    except OSError:
        return False


def kind_of(name: str) -> str:
    """What a file that is passed over is, in a word or two: `.tif`."""
    return CLUTTER if is_clutter(name) else _suffix(name) or "without a suffix"


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
