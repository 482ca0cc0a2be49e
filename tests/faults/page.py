"""The figures of the last full run, written into the page on reliability between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, markdown_table

BEGIN = "<!-- written by make faults: from here -->"
END = "<!-- to here -->"


def write_figures(
    page: Path, figures: Sequence[Figure], strikes: Mapping[str, int], machine: Mapping[str, Any]
) -> None:
    """Replace what stands between the marks."""
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + BEGIN, "", _text(figures, strikes, machine), "", END + after]), "utf-8")


def _text(figures: Sequence[Figure], strikes: Mapping[str, int], machine: Mapping[str, Any]) -> str:
    meanings = [f"- *{figure.name}*: {figure.meaning}" for figure in figures if figure.meaning]
    by_row = "; ".join(f"{title} {count}" for title, count in strikes.items())
    where = f"{machine['cores']} cores of {machine['cpu']}, commit {machine['commit']}, seed {machine['seed']}"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        markdown_table(figures),
        "\n".join(meanings),
        f"Faults by row: {by_row}.",
        f"Measured on {where}; {versions}.",
    ]
    return "\n\n".join(parts)
