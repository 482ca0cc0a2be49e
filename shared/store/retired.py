"""Versions of models that were replaced or removed: they go once no unfinished job names them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from shared.blobs.blob_store import Swept
from shared.cards.card import ModelCard, Registry
from shared.cards.declarations import declarations
from shared.cards.versions import CARD, changing, current_version, files, remove, replaced_since, versions
from shared.errors import ModelUnavailable
from shared.settings import Settings

Named = Callable[[], set[tuple[str, str]]]
"""The models and their versions that unfinished jobs name: `JobStore.versions_named`."""


def sweep(settings: Settings, named: Named, *, older_than: float, dry_run: bool = False) -> Swept:
    """Remove versions that do not count any more since so many seconds and that no unfinished job names.

    Whoever takes a snapshot of the models must have the jobs stored that it accepts by it within `older_than`. Raises
    AlreadyRunning where somebody else changes or saves models, InvalidSetting or ModelUnavailable where they cannot be
    read: others may then still work on older ones.
    """
    freed = Swept()
    if not settings.registry.exists():
        return freed
    with changing(settings.registry, patient=False):
        Registry.load(settings)
        for folder, version in _retired(settings, before=time.time() - older_than):
            if (folder.name, _fingerprint(version, settings)) in named():
                continue
            freed += Swept(len(files(version)), sum(path.stat().st_size for path in files(version)))
            if not dry_run:
                remove(version, folder=folder)
    return freed


def _retired(settings: Settings, *, before: float) -> list[tuple[Path, Path]]:
    """Each model's folder with a version that was replaced or removed before that time."""
    declared = {name: one.entry for name, one in declarations(settings.own_models).items()}
    found = []
    for folder in sorted(settings.registry.glob("*/")):
        entry = declared.get(folder.name)
        since = replaced_since(folder, entry)
        if since is not None and since <= before:
            current = None if entry is None else current_version(folder, entry)
            found += [(folder, version) for version in versions(folder) if version != current]
    return found


def _fingerprint(version: Path, settings: Settings) -> str:
    """Of a version; nothing where it cannot be read, and so answers nobody."""
    try:
        return ModelCard.load(version / CARD, cache=settings.cache).fingerprint
    except (ModelUnavailable, OSError, ValueError):
        return ""
