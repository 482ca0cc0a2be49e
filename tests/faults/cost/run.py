"""All attacks, one after the other, and what they came to: rows for a page, and figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.figures import Figure
from tests.faults.cost.attacks import ATTACKS, Attack
from tests.faults.cost.planted import FAULTS, GUARDED
from tests.faults.cost.rig import BYTES, SECONDS, SLOWER, STARTING_SECONDS, Rig, Row

SHORT = 0.02  # of each attack, in the short form
COLUMNS = (
    *("attack", "sent, KB", "answers", "web server, s", "worker, s", "web server, MB", "decoder, MB", "worker, MB"),
    *("others' p95", "within the budget"),
)


@dataclass(frozen=True)
class Outcome:
    """The rows of all attacks; and for each planted fault the attacks that went over the budget without its guard."""

    rows: Sequence[Row]
    planted: Mapping[str, set[str]]


def run(
    attacks: Sequence[Attack], faults: Sequence[str], folder: Path, *, seed: int, quick: bool, console: Console
) -> Outcome:
    """The attacks, and the planted faults, on one service."""
    with Rig(folder, seed=seed, beside=not quick) as rig:
        rows = [_attacked(rig, attack, SHORT if quick else 1.0, console) for attack in attacks]
        return Outcome(rows, {name: _found_without(rig, name, console) for name in faults})


def _found_without(rig: Rig, fault: str, console: Console) -> set[str]:
    """The attacks that go over the budget, of all against whose guards there are faults."""
    console.print(f"a planted fault: {fault}")
    with rig.without_guards([fault]) as unguarded:
        rows = [_attacked(unguarded, ATTACKS[name], share, console) for name, share in GUARDED.items()]
    return {row.attack.name for row in rows if row.faults}


def _attacked(rig: Rig, attack: Attack, share: float, console: Console) -> Row:
    began = time.monotonic()
    row = rig.run(attack, share=share)
    words = "; ".join(row.faults) or "within the budget"
    console.print(f"{attack.name}: {words} ({time.monotonic() - began:.0f} s)", style="red" if row.faults else None)
    return row


def figures_of(outcome: Outcome) -> list[Figure]:
    """What the rows and the planted faults come to."""
    rows, planted = outcome.rows, outcome.planted
    slower = [row.slower for row in rows if row.slower is not None]
    right = [name for name, found in planted.items() if found == FAULTS[name].found_by.keys()]
    return [
        Figure("attacks", len(rows), meaning="for each route and each kind of input the worst that is known"),
        Figure("attacks over the budget", sum(bool(row.faults) for row in rows), n=len(rows), target="<= 0"),
        *_most("most of the web server", [row.web_seconds for row in rows], "s", SECONDS + STARTING_SECONDS),
        *_most("most of a worker", [row.worker_seconds for row in rows if not row.attack.computing], "s", SECONDS),
        *_most("most memory of a decoder", [row.decoder_bytes / 1e6 for row in rows], "MB", BYTES / 1e6),
        *_most("most memory of the web server", [row.web_bytes / 1e6 for row in rows], "MB", BYTES / 1e6),
        *_most("most memory of a worker", [row.worker_bytes / 1e6 for row in rows], "MB", BYTES / 1e6),
        *_most("most that another caller felt", slower, "times", SLOWER),
        *([Figure("planted faults found", len(right), target=f">= {len(planted)}")] if planted else []),
    ]


def _most(name: str, values: Sequence[float], unit: str, most: float) -> list[Figure]:
    return [Figure(name, max(values), unit, n=len(values), target=f"<= {most:g}")] if values else []


def table(rows: Sequence[Row]) -> str:
    """The rows for a page."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    answers = ", ".join(f"{status} x {count}" if count > 1 else f"{status}" for status, count in row.statuses.items())
    return (
        row.attack.name,
        f"{row.sent / 1000:,.1f}",
        answers,
        f"{row.web_seconds:.2f}",
        f"{row.worker_seconds:.2f}",
        *(f"{size / 1e6:.0f}" for size in (row.web_bytes, row.decoder_bytes, row.worker_bytes)),
        "" if row.slower is None else f"x {row.slower:.1f}",
        "; ".join(row.faults) or "yes",
    )
