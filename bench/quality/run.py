"""Run the bars: each one's figures are kept, so that a run that was broken off goes on and one bar can run alone."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console

from bench import figures
from bench.figures import Figure
from bench.quality.bars import BARS, Bar
from bench.quality.context import SHIPPED, Context
from shared.errors import PathlightError


def run(
    numbers: Iterable[str],
    context: Context,
    *,
    quick: bool,
    fresh: bool,
    keep: Path,
    console: Console,
    standing: Mapping[str, list[Figure]],
) -> dict[str, list[Figure]]:
    """Figures by bar: those of `numbers`, measured unless they are kept (always if `fresh`), and of the other bars
    those that are kept, or else those that stand in the results of an earlier run."""
    wanted, out = set(numbers), {}
    for number, bar in BARS.items():
        place = keep / f"{number}-{_key(number, bar, context, quick=quick)}.json"
        if number in wanted and (fresh or not place.exists()):
            out[number] = _measure(number, bar, context, quick=quick, console=console)
            if all(figure.value is not None for figure in out[number]):
                figures.write(out[number], figures.machine(seed=context.seed), place)
        elif place.exists():
            out[number] = figures.read(place)
        elif number in standing:
            out[number] = standing[number]
        if number in wanted:
            console.print(figures.table(out[number], title=f"{number} {bar.title}"))
    return out


def _measure(number: str, bar: Bar, context: Context, *, quick: bool, console: Console) -> list[Figure]:
    console.print(f"{number} {bar.title}")
    started = time.monotonic()
    try:
        found = bar.measure(context, bar.quick if quick else bar.full)
    except (ImportError, FileNotFoundError, PathlightError) as error:
        return [Figure(f"{number} {bar.title}", None, reason=str(error))]
    console.print(f"  {time.monotonic() - started:.0f} s", highlight=False)
    return found


def _key(number: str, bar: Bar, context: Context, *, quick: bool) -> str:
    """What a bar's figures depend on, besides the code."""
    weights = {name: context.registry.get(name).weights.sha256 for name in SHIPPED}
    facts = [number, dict(bar.quick if quick else bar.full), weights, context.seed]
    if bar.cards:
        facts.append({name: context.registry.get(name).fingerprint for name in bar.cards})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
