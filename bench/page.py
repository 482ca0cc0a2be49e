"""A rig's page, written wholly from its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Figure, markdown_table


def page(introduction: str, sections: Mapping[str, Sequence[Figure]], context: Mapping[str, Any]) -> str:
    """The page of the figures, by title of the section; `introduction` is Markdown with the page's title."""
    every = [figure for section in sections.values() for figure in section]
    missed = [figure for figure in every if figure.met is False]
    absent = [figure for figure in every if figure.value is None]
    met = sum(figure.met is True for figure in every)
    parts = [
        introduction,
        f"Of {met + len(missed)} targets, {met} are met. {_listed('Missed', missed)}{_listed('Not measured', absent)}",
        *(_section(title, section) for title, section in sections.items()),
        _context(context),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _listed(word: str, figures: Sequence[Figure]) -> str:
    return f"{word}: {'; '.join(figure.name for figure in figures)}. " if figures else ""


def _section(title: str, figures: Sequence[Figure]) -> str:
    meanings: dict[str, list[str]] = {}
    for figure in figures:
        if figure.meaning:
            meanings.setdefault(figure.meaning, []).append(figure.name)
    lines = [f"- {', '.join(f'*{name}*' for name in names)}: {meaning}" for meaning, names in meanings.items()]
    return "\n\n".join([f"## {title}", markdown_table(figures), "\n".join(lines)])


def _context(context: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    return (
        f"## Measured on\n\n{context['cores']} cores of {context['cpu']}, commit {context['commit']}, "
        f"seed {context['seed']}; {versions}."
    )
