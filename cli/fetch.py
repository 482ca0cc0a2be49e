"""`pathlight models fetch`: upstream weights, with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cli.own_models import HEEDED
from shared.cards.card import Registry
from shared.errors import InvalidOption
from shared.settings import Settings


def fetch_models(names: Sequence[str], settings: Settings, console: Console) -> None:
    """Fetch the named models, or every upstream model that is not ready. Raises FetchFailed at the first that fails."""
    from worker.engine.upstream import fetch

    registry = Registry.load(settings)
    cards = [registry.get(name) for name in names] or [
        c for c in registry.cards.values() if c.weights.url and c.missing
    ]
    for card in cards:
        if card.weights.url is None:
            raise InvalidOption(f"{card.name} comes with the repository; mend it with: {card.remedy or 'git checkout'}")
        columns = (TextColumn(card.name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(card.name, total=None)
            path = fetch(
                card,
                settings.cache,
                progress=lambda done, total: progress.update(task, completed=done, total=total),  # noqa: B023
            )
        console.print(f"{card.name} is ready: {path}", soft_wrap=True)
    console.print(HEEDED if cards else "every model is ready")
