"""Versions of the models of one's own: each lies whole in a folder that nobody changes, and one rename makes it count.

    registry/NAME/v-1a2b3c4d5e6f7a8b/      card.json, weights.safetensors and, where there is a tree, hierarchy.json
    registry/NAME/entry-0123456789abcdef   the version that counts while models.toml has this entry for NAME
    registry/NAME/removed                  there since the model was removed

A reader reads models.toml first, and then the version that its entry names. So `put` and the writing of models.toml are
each one rename, and whatever a reader meets is the model before or the model after. A model that an earlier Pathlight
added lies in registry/NAME itself, and counts as long as its entry names no version.

Accepted jobs are answered by the version that was current then. So a version that was replaced or removed stays until
no unfinished job names it; `sweep` then removes it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.files import replacing
from shared.locks import locked

CARD = "card.json"
WEIGHTS = "weights.safetensors"
TREE = "hierarchy.json"
REMOVED = "removed"
_VERSION, _ENTRY, _GONE = "v-", "entry-", ".gone-"


def current_version(folder: Path, entry: Mapping[str, Any] | None) -> Path | None:
    """The folder of the version that counts for an entry of models.toml; None where there is none."""
    named = [] if entry is None else [_named(_pointer(folder, entry), folder)]
    return next((place for place in (*named, folder) if place and (place / CARD).exists()), None)


def versions(folder: Path) -> list[Path]:
    """The folders of all versions of a model, the one of an earlier Pathlight first."""
    found = sorted(path.parent for path in folder.glob(f"{_VERSION}*/{CARD}"))
    return [folder, *found] if (folder / CARD).exists() else found


def put(staged: Path, folder: Path, entry: Mapping[str, Any]) -> Path:
    """Take a folder in as a version, and have it count for an entry; where it lies from now on. Under `changing`."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{_VERSION}{secrets.token_hex(8)}"
    staged.rename(place)
    with replacing(_pointer(folder, entry)) as partial:
        partial.write_text(place.name, "utf-8")
    (folder / REMOVED).unlink(missing_ok=True)
    return place


def mark_removed(folder: Path) -> None:
    """Note that a model is about to leave models.toml, so that a sweep may take it. Under `changing`."""
    if folder.exists():
        (folder / REMOVED).touch()


def replaced_since(folder: Path, entry: Mapping[str, Any] | None) -> float | None:
    """When the versions of a model that do not count were replaced or removed, in seconds since the epoch; None where
    nobody replaced or removed them: its entry may have been changed by hand, and may be changed back."""
    with suppress(FileNotFoundError):
        return (folder / REMOVED if entry is None else _pointer(folder, entry)).stat().st_mtime
    return None


def files(version: Path) -> list[Path]:
    """The files of a version, its card first: without that, it is none."""
    return [path for name in (CARD, TREE, WEIGHTS) if (path := version / name).exists()]


def remove(version: Path, *, folder: Path) -> None:
    """Remove a version, and the model's folder with the last one. Under `changing`."""
    if version == folder:
        for path in files(version):
            path.unlink()
    else:
        for pointer in folder.glob(f"{_ENTRY}*"):
            if _named(pointer, folder) == version:
                pointer.unlink()
        gone = folder / f"{_GONE}{version.name}"
        version.rename(gone)
        shutil.rmtree(gone)
    if not versions(folder):
        shutil.rmtree(folder)


@contextmanager
def changing(registry: Path, *, patient: bool = True) -> Iterator[None]:
    """While this is held, nobody else adds, removes, sweeps or saves models. Waits for whoever does, or raises
    AlreadyRunning where it is not to be patient."""
    registry.mkdir(parents=True, exist_ok=True)
    taken = "the models are being changed or backed up just now; try again in a minute"
    with locked(registry / ".lock", taken=taken, patient=patient):
        yield


def _named(pointer: Path, folder: Path) -> Path | None:
    """The version that a pointer names."""
    try:
        return folder / pointer.read_text("utf-8")
    except FileNotFoundError:
        return None


def _pointer(folder: Path, entry: Mapping[str, Any]) -> Path:
    text = json.dumps(entry, sort_keys=True)
    return folder / f"{_ENTRY}{hashlib.sha256(text.encode()).hexdigest()[:16]}"
