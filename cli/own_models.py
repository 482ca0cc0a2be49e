"""`pathlight models add` and `remove`: models of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from rich.console import Console

from shared.cards.card import ModelCard, Registry
from shared.cards.declarations import Declaration, declarations
from shared.errors import InvalidOption
from shared.settings import Settings

HEEDED = "A running service takes note within seconds."


def add_models(
    name: str | None, given: Mapping[str, Any], settings: Settings, console: Console, *, force: bool
) -> None:
    """Check and take on one model as `given`; without that, the entry NAME of models.toml; without a name, all of its
    entries that were not checked. A change of an entry needs `force`."""
    found = declarations(settings.own_models)
    if given:
        wanted = [_declaration(name, given, found, settings, force=force)]
    elif name is None:
        wanted = [found[one] for one in Registry.load(settings).unchecked]
    elif name in found:
        wanted = [found[name]]
    else:
        raise InvalidOption(f"{name} is not in {settings.own_models}; say --architecture and --weights to add it")
    for declaration in wanted:
        take_on(declaration, settings, console)
    console.print(HEEDED if wanted else "every model of models.toml is checked", soft_wrap=True)


def take_on(
    declaration: Declaration, settings: Settings, console: Console, *, known: Mapping[str, Any] | None = None
) -> ModelCard:
    """Check one model and say what was found; `known` are facts for its card that others found."""
    with console.status(f"adding {declaration.name}…") if console.is_terminal else nullcontext() as status:
        from worker.engine.admission import admit

        card = admit(
            declaration,
            settings,
            say=lambda what: status.update(f"{declaration.name}: {what}…") if status else None,
            known=known,
        )
    for line in describe(card):
        console.print(line, soft_wrap=True, markup=False)
    return card


def remove_models(names: Sequence[str], settings: Settings, console: Console) -> None:
    """Take models out of the registry. Raises as `dismiss`."""
    from worker.engine.admission import dismiss

    for name in names:
        dismiss(name, settings)
        console.print(f"{name} was removed", soft_wrap=True)
    console.print(f"{HEEDED} Jobs that it accepted before are still answered; the files go after that.", soft_wrap=True)


def describe(card: ModelCard) -> list[str]:
    """What a check found, in a few lines."""
    facts, tree = card.facts, card.hierarchy
    lines = [
        f"{card.name} is ready: {card.architecture}, {card.class_count} classes, {card.input.size} px, "
        f"{facts['milliseconds_per_picture']} ms a picture here",
        f"  methods: {', '.join(card.methods)}",
    ]
    if card.limit is not None:
        lines.append(f"  {card.limit}")
    if (certificate := facts["certificate"]) is not None:
        lines.append(f"  {_exactness(card.layer, certificate)}")
    if tree is not None:
        lines.append(f"  tree: {len(tree.decisions)} decisions")
    return lines


def _exactness(layer: str, certificate: Mapping[str, Any]) -> str:
    residual = f"{certificate['residual']:.0e}"
    if not certificate["exact"]:
        return f"maps of {layer} are NOT exact: some miss their logits by {residual}, which is more than rounding"
    return f"maps of {layer} are exact: all add up to their logits, to {residual}"


def _declaration(
    name: str | None, given: Mapping[str, Any], found: Mapping[str, Declaration], settings: Settings, *, force: bool
) -> Declaration:
    if name is None:
        raise InvalidOption("say what the model is to be called: pathlight models add NAME …")
    if name in found and not force:
        raise InvalidOption(f"{name} is in {settings.own_models} already; --force replaces its entry")
    return Declaration(name, _from_here(given), settings.own_models.parent)


def _from_here(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same with absolute paths, as models.toml may lie elsewhere."""
    paths = ("weights", "classes", "hierarchy")
    return {key: os.path.abspath(value) if key in paths else value for key, value in given.items()}
