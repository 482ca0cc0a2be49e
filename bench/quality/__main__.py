"""Measure how far the explanations of the shipped models can be trusted, and write the page and the JSON.

    python -m bench.quality [--only Q3,Q6] [--quick] [--strict] [--fresh] [--out FOLDER]

Figures of earlier runs are kept by model, size and seed: a run that was broken off goes on where it was. A bar that is
not run and not kept stays as it stands in the results. The exit status is 0 when the rig ran, whatever the figures;
with --strict a missed target is an error.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from bench import figures
from bench.outcome import require_targets
from bench.page import MEASUREMENTS, fill, page
from bench.quality import earlier, seen
from bench.quality.bars import BARS
from bench.quality.context import Context
from bench.quality.run import run
from shared.cards.card import Registry
from shared.settings import REPOSITORY, Settings
from training.pictures import ARCHIVES

KEPT = REPOSITORY / "bench" / "out" / "quality"
QUICK_PICTURES = 64  # of each model


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    numbers = value.split(",") if value else list(BARS)
    for number in numbers:
        if number not in BARS:
            raise click.BadParameter(f"{number!r} is not a bar; there are {', '.join(BARS)}")
    return numbers


@click.command(help=__doc__)
@click.option("--only", "numbers", callback=_numbers, default="", help="The bars to run, such as Q3,Q6.")
@click.option("--quick", is_flag=True, help="A trial on a few pictures; its figures mean little.")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
@click.option("--fresh", is_flag=True, help="Measure again what was kept.")
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, help="The folder of the held-out pictures.")
@click.option("--keep", type=click.Path(path_type=Path), default=KEPT, help="Where figures are kept between runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Where results go; docs/measurements, or KEEP.")
def main(numbers: list[str], quick: bool, strict: bool, fresh: bool, data: Path, keep: Path, out: Path | None) -> None:
    console = Console()
    registry = Registry.load(Settings())
    context = Context(registry, data=data, store=keep, limit=QUICK_PICTURES if quick else None)
    place = out or (keep if quick else MEASUREMENTS)
    before = earlier.load(place / "quality.json")
    found = run(numbers, context, quick=quick, fresh=fresh, keep=keep, console=console, standing=before.figures)
    every = [figure for bar in found.values() for figure in bar]
    machine = figures.machine(seed=context.seed)
    machine |= before.context_of(number for number, bar in found.items() if bar is before.figures.get(number))
    figures.write(every, machine, place / "quality.json")
    sections = {f"{number} {BARS[number].title}": bar for number, bar in found.items()}
    notes = [note for note in (seen.note(every), earlier.note(machine)) if note]
    text = page(sections, machine, notes=notes)
    fill(MEASUREMENTS / "quality.md", writer="make quality", text=text, out=place / "quality.md")
    console.print(f"written: {place / 'quality.md'}, {place / 'quality.json'}")
    if strict:
        require_targets(every)


if __name__ == "__main__":
    main()
