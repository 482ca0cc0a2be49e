"""What a rig writes into a page: only what stands between its marks. The rest is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, markdown_table
from shared.settings import REPOSITORY

MEASUREMENTS = REPOSITORY / "docs" / "measurements"
SHORTFALLS = "Why a target is missed, by what was measured beside it:"


def page(
    sections: Mapping[str, Sequence[Figure]],
    context: Mapping[str, Any],
    *,
    notes: Sequence[str] = (),
) -> str:
    """The figures of a page, by title of the section. Notes stand behind the sections."""
    every = [figure for section in sections.values() for figure in section]
    missed = [figure for figure in every if figure.met is False]
    absent = [figure for figure in every if figure.value is None]
    met = sum(figure.met is True for figure in every)
    parts = [
        f"{_met(met, met + len(missed))}{_listed('Missed', missed)}{_listed('Not measured', absent)}",
        *(_section(title, section) for title, section in sections.items()),
        *notes,
        _context(context),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip())


def fill(page: Path, *, writer: str, text: str, out: Path | None = None) -> None:
    """Replace what stands on a page between the marks of a writer, such as `make faults`; `out` is where the page then
    goes, if not back. Raises ValueError where the page has no such marks."""
    begin, end = f"<!-- written by {writer}: from here -->", "<!-- to here -->"
    before, found, rest = page.read_text("utf-8").partition(begin)
    if not found:
        raise ValueError(f"{page.name} has no place for what {writer} writes")
    _, _, after = rest.partition(end)
    (out or page).write_text("\n".join([before + begin, "", text, "", end + after]), "utf-8")


def block(figures: Sequence[Figure], context: Mapping[str, Any], *, notes: Sequence[str] = ()) -> str:
    """The figures for a part of a page: a table, what each means, notes, and where they were measured."""
    meanings = [f"- *{figure.name}*: {figure.meaning}" for figure in figures if figure.meaning]
    return "\n\n".join([markdown_table(figures), "\n".join(meanings), *notes, f"Measured on {_machine(context)}"])


def _met(count: int, targets: int) -> str:
    return f"Of {targets} targets, {count} are met. " if targets else ""


def _listed(word: str, figures: Sequence[Figure]) -> str:
    return f"{word}: {'; '.join(figure.name for figure in figures)}. " if figures else ""


def _section(title: str, figures: Sequence[Figure]) -> str:
    meanings: dict[str, list[str]] = {}
    for figure in figures:
        if figure.meaning:
            meanings.setdefault(figure.meaning, []).append(figure.name)
    lines = [f"- {', '.join(f'*{name}*' for name in names)}: {meaning}" for meaning, names in meanings.items()]
    shortfalls = [f"- *{figure.name}*: {figure.shortfall}" for figure in figures if figure.shortfall]
    why = [SHORTFALLS, "\n".join(shortfalls)] if shortfalls else []
    return "\n\n".join([f"## {title}", markdown_table(figures), "\n".join(lines), *why])


def _context(context: Mapping[str, Any]) -> str:
    return f"## Measured on\n\n{_machine(context)}"


def _machine(context: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    where = f"{context['cores']} cores of {context['cpu']}, commit {context['commit']}, seed {context['seed']}"
    return f"{where}; {versions}."
