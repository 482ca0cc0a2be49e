"""What a rig ends with: figures for a person and in a file, and an error where a target had to be met and is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import figures
from bench.figures import Figure


def publish(found: Sequence[Figure], machine: Mapping[str, Any], out: Path, *, title: str, console: Console) -> None:
    """Print the figures as a table, and write them to `out` as JSON."""
    console.print(figures.table(found, title=title))
    figures.write(found, machine, out)
    console.print(f"written: {out}")


def require_targets(found: Sequence[Figure]) -> None:
    """Raises ClickException naming the targets that are missed."""
    missed = [figure.name for figure in found if figure.met is False]
    if missed:
        raise click.ClickException(f"{len(missed)} targets are missed: {'; '.join(missed)}")
