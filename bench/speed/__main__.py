"""Measure what the engine and the service cost, and write the page and the JSON.

    python -m bench.speed [--only engine,peers] [--quick] [--strict] [--out FOLDER]

What is compared runs in turns within this run. The exit status is 0 when the rig ran, whatever the figures; with
--strict a missed target is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from bench import figures
from bench.figures import Figure
from bench.outcome import require_targets
from bench.page import MEASUREMENTS, fill, page
from bench.quality.context import Sizes
from bench.speed.engine import engine
from bench.speed.limits import limits
from bench.speed.peers import peers
from bench.speed.service import service
from bench.speed.store import store
from bench.speed.tree import tree
from shared.allocator import keep_freed_memory
from shared.settings import REPOSITORY

OUT = REPOSITORY / "bench" / "out"


@dataclass(frozen=True)
class Part:
    """One part of the bench. The sizes are chosen so that all parts together take about 20 minutes on two cores."""

    title: str
    measure: Callable[[Sizes], list[Figure]]
    full: Sizes
    quick: Sizes


PARTS: Mapping[str, Part] = {
    "limits": Part("Limits of the processor", limits, {"rounds": 15, "batch": 32}, {"rounds": 1, "batch": 1}),
    "engine": Part(
        "The engine",
        engine,
        {"rounds": 19, "pairs": 41, "models": 4, "batches": 3},
        {"rounds": 1, "pairs": 1, "models": 2, "batches": 1},
    ),
    "peers": Part("Beside what people use today", peers, {"rounds": 15, "pictures": 16}, {"rounds": 1, "pictures": 1}),
    "tree": Part("The tree", tree, {"walks": 3}, {"walks": 1}),
    "store": Part(
        "The job store",
        store,
        {"rounds": 7, "jobs": 4000, "short backlog": 100, "long backlog": 100_000},
        {"rounds": 1, "jobs": 80, "short backlog": 10, "long backlog": 100},
    ),
    "service": Part(
        "The service",
        service,
        {"rounds": 14, "pairs": 96, "jobs": 160, "singles": 200, "few": 1000, "many": 10_000},
        {"rounds": 1, "pairs": 2, "jobs": 8, "singles": 2, "few": 8, "many": 16},
    ),
}


def _names(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = value.split(",") if value else list(PARTS)
    for name in names:
        if name not in PARTS:
            raise click.BadParameter(f"{name!r} is not a part; there are {', '.join(PARTS)}")
    return names


@click.command(help=__doc__)
@click.option("--only", "names", callback=_names, default="", help="The parts to run, such as engine,peers.")
@click.option("--quick", is_flag=True, help="A trial on a few pictures; its figures mean little.")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The folder of latest.json.")
@click.option("--write-page", is_flag=True, help="Fill docs/measurements/performance.md; all parts must run.")
def main(names: list[str], quick: bool, strict: bool, out: Path, write_page: bool) -> None:
    keep_freed_memory()  # as a worker does
    console = Console()
    found: dict[str, list[Figure]] = {}
    for name in names:
        part = PARTS[name]
        console.print(part.title)
        began = time.monotonic()
        found[part.title] = part.measure(part.quick if quick else part.full)
        console.print(figures.table(found[part.title], title=f"{part.title}, {time.monotonic() - began:.0f} s"))
    every = [figure for section in found.values() for figure in section]
    machine = figures.machine(seed=0)
    figures.write(every, machine, out / "latest.json")
    console.print(f"written: {out / 'latest.json'}")
    if write_page:
        fill(MEASUREMENTS / "performance.md", writer="make bench", text=page(found, machine))
    if strict:
        require_targets(every)


if __name__ == "__main__":
    main()
