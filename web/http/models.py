"""The models as a request sees them: one snapshot from its beginning to its end, whatever happens to the files."""

from __future__ import annotations

from collections.abc import Callable

from flask import g

from shared.cards.card import Registry
from shared.cards.registry import Models

Snapshot = Callable[[], Registry]
"""Gives the models of the current request."""


def snapshot_of(models: Models) -> Snapshot:
    """Takes a snapshot when a request first asks for one, and keeps it for that request."""

    def registry() -> Registry:
        if "registry" not in g:
            g.registry = models.current()
        found: Registry = g.registry
        return found

    return registry
