"""Attack a real service with the worst that is known for each route and each kind of input, and see what it costs.

    python -m tests.faults.cost [--seed N] [--only NAME,NAME] [--quick] [--strict]

Prints a line for each attack and one table, writes tests/faults/out/cost.json, and after a full run
docs/reliability.md. The exit status is 0 when the rig ran, whatever the figures; with --strict a missed target is an
error. Another seed makes other files of the same kinds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from rich.console import Console

from bench import figures
from bench.outcome import publish, require_targets
from bench.page import block, fill
from shared.settings import REPOSITORY
from tests.faults.cost.attacks import ATTACKS, Attack
from tests.faults.cost.planted import FAULTS
from tests.faults.cost.run import figures_of, run, table

OUT = REPOSITORY / "tests" / "faults" / "out"
PAGE = REPOSITORY / "docs" / "reliability.md"
WRITER = "make faults, of costs"


def _attacks(context: click.Context, parameter: click.Parameter, value: str) -> list[Attack]:
    wanted = [name.strip() for name in value.split(",") if name.strip()]
    if unknown := [name for name in wanted if not any(name in known for known in ATTACKS)]:
        raise click.BadParameter(f"there is no attack {unknown[0]!r}; there are: {'; '.join(ATTACKS)}")
    return [one for name, one in ATTACKS.items() if not wanted or any(part in name for part in wanted)]


@click.command(help=__doc__)
@click.option("--seed", default=0, show_default=True, help="Of the files.")
@click.option("--only", "attacks", callback=_attacks, default="", help="Attacks by a part of their names, by comma.")
@click.option("--quick", is_flag=True, help="The short form, as the tests run it, with nobody beside.")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="The page that gets a full run's table.")
def main(attacks: list[Attack], seed: int, quick: bool, strict: bool, page: Path) -> None:
    console, full = Console(), not quick and len(attacks) == len(ATTACKS)
    with tempfile.TemporaryDirectory() as folder:
        faults = list(FAULTS) if full else []
        outcome = run(attacks, faults, Path(folder), seed=seed, quick=quick, console=console)
    found = figures_of(outcome)
    machine = figures.machine(seed=seed)
    publish(found, machine, OUT / "cost.json", title="What attacks cost", console=console)
    if full:
        fill(page, writer=WRITER, text=block(found, machine, notes=[table(outcome.rows)]))
        console.print(f"written: {page}")
    if strict:
        require_targets(found)


if __name__ == "__main__":
    main()
