"""The registry of a process that goes on: one snapshot at a time, and a new one when the files of the models changed.

Code takes a snapshot once and keeps it to the end, so that all of its work is of the same models.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from shared.cards.card import ModelCard, Registry
from shared.cards.versions import CARD, versions
from shared.errors import PathlightError
from shared.settings import REPOSITORY, Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at the files
_DEPTH = 3  # registry/NAME/VERSION/FILE

Signature = frozenset[tuple[str, int, int, int]]  # of each file: path, inode, size and time of its last change


class Models(Protocol):
    """What gives the models: a `Registry`, which stays as it is, or a `LiveRegistry`."""

    def current(self) -> Registry:
        """The models as they are now."""

    def of_version(self, name: str, version: str | None) -> ModelCard:
        """The model as it was when `version` was its fingerprint."""


class LiveRegistry:
    """Follows the files. Any number of threads may ask; one of them looks, the others get the snapshot that is there.

    Where the files cannot be read just then, or say what cannot be used, the last good snapshot stays.
    """

    def __init__(self, settings: Settings, *, look_seconds: float = LOOK_SECONDS) -> None:
        self._settings = settings
        self._look_seconds = look_seconds
        self._looking = threading.Lock()
        self._signature = _signature(settings)
        self._snapshot = _load(settings)  # after the signature: what changes meanwhile is seen at the next look
        self._next_look = time.monotonic() + look_seconds
        self._trouble = ""  # that was logged last

    def current(self) -> Registry:
        """The models as they are now, or were a second ago."""
        if time.monotonic() >= self._next_look and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._snapshot

    def of_version(self, name: str, version: str | None) -> ModelCard:
        """The model as it was when `version` was its fingerprint, replaced or removed since or not; as it is now where
        no version is asked for, or where that one is not kept on this machine. Raises as `Registry.ready`."""
        found = self.current()
        if not _has(found, name, version):
            with self._looking:
                self._look()  # whoever asked for it may have seen newer files
            found = self._snapshot
        if version is not None and not _has(found, name, version):
            if kept := self._kept(name, version):
                return kept
            log.warning("the version %.12s of %s is not here; the current one answers", version, name)
        return found.ready(name)

    def _kept(self, name: str, version: str) -> ModelCard | None:
        for folder in versions(self._settings.registry / name):
            try:
                card = ModelCard.load(folder / CARD, cache=self._settings.cache)
                if card.fingerprint == version:
                    return card
            except (PathlightError, OSError) as error:
                log.warning("a version of %s cannot be read: %s", name, error)
        return None

    def _look(self) -> None:
        """Load anew where a file has changed. What fails is tried again at the next look."""
        try:
            signature = _signature(self._settings)
            if signature != self._signature:
                self._snapshot, self._signature = _load(self._settings), signature
                log.info("the models have changed: %s", ", ".join(self._snapshot.cards))
            self._trouble = ""
        except (PathlightError, OSError, ValueError) as error:
            if str(error) != self._trouble:
                log.warning("the models are left as they were: %s", error)
            self._trouble = str(error)
        self._next_look = time.monotonic() + self._look_seconds


def _load(settings: Settings) -> Registry:
    """The registry with every fingerprint taken now, so that it stays that of these files."""
    registry = Registry.load(settings)
    registry.versions(registry.cards)
    return registry


def _has(registry: Registry, name: str, version: str | None) -> bool:
    card = registry.cards.get(name)
    return card is not None and version in (None, card.fingerprint)


def _signature(settings: Settings) -> Signature:
    places = (REPOSITORY / "models", settings.registry, settings.cache)
    paths = [settings.own_models, *(path for place in places for path in _files(place, _DEPTH))]
    return frozenset(seen for path in paths if (seen := _seen(path)))


def _files(folder: Path, depth: int) -> Iterator[Path]:
    """The files of a folder and of those in it; hidden ones are on their way, or on their way out."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if depth > 1 and entry.is_dir():
            yield from _files(Path(entry.path), depth - 1)
        else:
            yield Path(entry.path)


def _seen(path: Path) -> tuple[str, int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns
