"""The page of quality figures, written wholly from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Figure, markdown_table
from bench.quality.bars import BARS

INTRODUCTION = """\
# How far the explanations can be trusted

Written by `make quality`; every number on this page was measured by it. Intervals are 95 % bootstrap intervals over
the pictures. Controls are the same measure, on the same pictures, of a map or method that does not look at what the
network has learnt, or what others published where that is said. A figure without a target is for information.
"""


def page(figures: Mapping[str, Sequence[Figure]], context: Mapping[str, Any]) -> str:
    """The page of the figures by bar."""
    every = [figure for bar in figures.values() for figure in bar]
    missed = [figure for figure in every if figure.met is False]
    absent = [figure for figure in every if figure.value is None]
    met = sum(figure.met is True for figure in every)
    parts = [
        INTRODUCTION,
        f"Of {met + len(missed)} targets, {met} are met. {_listed('Missed', missed)}{_listed('Not measured', absent)}",
        *(_section(number, bar) for number, bar in figures.items()),
        _context(context),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _listed(word: str, figures: Sequence[Figure]) -> str:
    return f"{word}: {'; '.join(figure.name for figure in figures)}. " if figures else ""


def _section(number: str, figures: Sequence[Figure]) -> str:
    meanings: dict[str, list[str]] = {}
    for figure in figures:
        if figure.meaning:
            meanings.setdefault(figure.meaning, []).append(figure.name)
    lines = [f"- {', '.join(f'*{name}*' for name in names)}: {meaning}" for meaning, names in meanings.items()]
    return "\n\n".join([f"## {number} {BARS[number].title}", markdown_table(figures), "\n".join(lines)])


def _context(context: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    return (
        f"## Measured on\n\n{context['cores']} cores of {context['cpu']}, commit {context['commit']}, "
        f"seed {context['seed']}; {versions}."
    )
