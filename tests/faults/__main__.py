"""Strike a real service with every fault of the matrix and see whether it keeps its promise.

    python -m tests.faults [--seed N] [--only 1,9] [--quick] [--strict]

Prints one table, writes tests/faults/out/latest.json, and after a full run docs/reliability.md. The exit status is 0
when the rig ran, whatever the figures; with --strict a missed target is an error. What a failed row did lies in
tests/faults/out/history; the same seed makes the same choices again.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bench import figures
from bench.outcome import publish, require_targets
from bench.page import block, fill
from shared.settings import REPOSITORY
from tests.faults.rows import ROWS, Row
from tests.faults.run import OUT, bad_input_figures, figures_of, run

PAGE = REPOSITORY / "docs" / "reliability.md"


def _rows(context: click.Context, parameter: click.Parameter, value: str) -> list[Row]:
    known = {str(row.number) for row in ROWS}
    chosen = set(value.split(",")) if value else known
    if chosen - known:
        raise click.BadParameter(f"there is no row {', '.join(sorted(chosen - known))}; there are {', '.join(known)}")
    return [row for row in ROWS if str(row.number) in chosen]


@click.command(help=__doc__)
@click.option("--seed", default=0, show_default=True, help="Of the choices: which process, when.")
@click.option("--only", "rows", callback=_rows, default="", help="The rows to run, such as 1,9.")
@click.option("--quick", is_flag=True, help="The short form, as the tests run it; its figures mean little.")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="The page that gets a full run's figures.")
def main(seed: int, rows: list[Row], quick: bool, strict: bool, page: Path) -> None:
    console = Console()
    outcome = run(rows, seed=seed, quick=quick, console=console)
    for text in [*outcome.failures, *(f"{one.invariant}: {one.text}" for one in outcome.violations)][:50]:
        console.print(text, style="red", soft_wrap=True)
    found = [*figures_of(outcome, seed=seed, quick=quick), *bad_input_figures(seed=seed, quick=quick)]
    machine = figures.machine(seed=seed)
    publish(found, machine, OUT / "latest.json", title="Nothing lost, nothing broken", console=console)
    if not quick and len(rows) == len(ROWS):
        by_row = "; ".join(f"{title} {count}" for title, count in outcome.strikes.items())
        fill(page, writer="make faults", text=block(found, machine, notes=[f"Faults by row: {by_row}."]))
        console.print(f"written: {page}")
    if strict:
        require_targets(found)


if __name__ == "__main__":
    main()
