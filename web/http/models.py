"""The models as a request sees them: one snapshot from its beginning to its end, whatever happens to the files."""

from __future__ import annotations

from collections.abc import Callable

from flask import g

from shared.cards.card import ModelCard, Registry
from shared.cards.registry import Models
from shared.settings import Settings

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


def in_order(registry: Registry, settings: Settings) -> list[ModelCard]:
    """The default models first, those that are not ready last."""
    rank = {name: number for number, name in enumerate(settings.default_models)}
    return sorted(registry.cards.values(), key=lambda card: (card.missing is not None, rank.get(card.name, len(rank))))
