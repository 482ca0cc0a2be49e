"""The results of an earlier run: bars that are not run again stay, with what is known of where they were measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import figures
from bench.figures import Figure

EARLIER = "earlier"  # the key of the context: by bar, the context of the run that measured it


@dataclass(frozen=True)
class Earlier:
    figures: Mapping[str, list[Figure]]  # by bar
    context: Mapping[str, Any]

    def context_of(self, bars: Iterable[str]) -> dict[str, Any]:
        """The entry of a new context that says where some bars were measured; empty where there are none."""
        last = {key: value for key, value in self.context.items() if key != EARLIER}
        older = self.context.get(EARLIER, {})
        found = {bar: older.get(bar, last) for bar in bars}
        return {EARLIER: found} if found else {}


def load(path: Path) -> Earlier:
    """The results in a JSON file; none where it does not exist."""
    if not path.exists():
        return Earlier({}, {})
    by_bar: dict[str, list[Figure]] = {}
    for figure in figures.read(path):
        by_bar.setdefault(figure.name.split()[0], []).append(figure)
    return Earlier(by_bar, json.loads(path.read_text("utf-8"))["context"])


def note(context: Mapping[str, Any]) -> str:
    """The part of the page about bars that an earlier run measured; nothing where there are none."""
    bars: dict[str, list[str]] = {}
    for bar, where in context.get(EARLIER, {}).items():
        bars.setdefault(f"commit {where['commit']}, {where['cores']} cores of {where['cpu']}", []).append(bar)
    if not bars:
        return ""
    lines = [f"- {', '.join(numbers)}: {where}" for where, numbers in bars.items()]
    return "\n".join(["## Measured in an earlier run", "", *lines])
