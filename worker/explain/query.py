"""What is asked of the worker about one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.cards.card import ModelCard
from shared.images.seeing import Seen
from shared.jobs import JobOptions


@dataclass(frozen=True)
class Query:
    """One image and what is asked about it; `cards` are the models that are to answer, by name, where these are not
    the current ones."""

    photo: Seen
    options: JobOptions
    cards: Mapping[str, ModelCard] = field(default_factory=dict)
