"""The names of classes: which may be shortened, and which classes a word names.

ImageNet's classes have all of WordNet's words for a thing, by comma: `tabby, tabby cat`. People say the first. In names
of any other source a comma is part of the name: `cat, black` and `cat, white` are two classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

from shared.settings import REPOSITORY

_CARD = REPOSITORY / "models" / "efficientnet-lite0-imagenet" / "card.json"


@cache
def imagenet_names() -> tuple[str, ...]:
    """ImageNet's 1,000 classes in their order, each with all its words. No two have the same first word."""
    return tuple(json.loads(_CARD.read_text("utf-8"))["classes"])


@cache
def _shortened() -> Mapping[str, str]:
    return {name: name.partition(",")[0] for name in imagenet_names()}


def short_name(name: str) -> str:
    """The first word of a name that is one of ImageNet's lists of synonyms; any other name as it is."""
    return _shortened().get(name, name)


def classes_named(classes: Sequence[str], text: str) -> tuple[int, ...]:
    """The indices of the classes that `text` names: by the whole name, otherwise whatever the case, otherwise by the
    short name. More than one where the names do not tell them apart; none where no class is called so."""
    wanted = text.strip()
    exact, folded, short = _by_name(tuple(classes))
    return exact.get(wanted) or folded.get(wanted.casefold()) or short.get(wanted.casefold()) or ()


def alike(names: Sequence[str]) -> tuple[int, ...]:
    """The indices of classes with one and the same short name: the first such group; none where all names differ."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(short_name(name), []).append(index)
    return next((tuple(found) for found in places.values() if len(found) > 1), ())


_Indices = dict[str, tuple[int, ...]]


@lru_cache(maxsize=64)
def _by_name(classes: tuple[str, ...]) -> tuple[_Indices, _Indices, _Indices]:
    exact: _Indices = {}
    folded: _Indices = {}
    short: _Indices = {}
    for index, name in enumerate(classes):
        for places, key in ((exact, name), (folded, name.casefold()), (short, short_name(name).casefold())):
            places[key] = (*places.get(key, ()), index)
    return exact, folded, short


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """ImageNet's classes in their order, as another library calls them: where it calls two the same, each gets the name
    it has here, such as `crane (wading bird)`."""
    return tuple(
        short_name(ours) if names.count(name) > 1 else name for name, ours in zip(names, imagenet_names(), strict=True)
    )
