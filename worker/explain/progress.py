"""How a long computation says how far it is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]
"""Is given (stage, done, total) while a long computation goes on. It may raise to stop it."""


def ignore(stage: str, done: int, total: int) -> None:
    """For a computation that nobody watches."""
