"""What a job may ask, and what its words mean for each model. The web refuses with it, the worker plans with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from shared.answer.record import Caution
from shared.cards.card import ModelCard, Registry
from shared.cards.class_names import short_name
from shared.cards.groups import Group
from shared.cards.methods import LONG_METHODS, METHODS, reason_of
from shared.errors import InvalidOption
from shared.jobs import LISTS, PREDICTED, CommonOptions, JobOptions, choices_of, option_fields, singular

SURE = "sure"
RUNNER_UP = "runner-up"
T = TypeVar("T", bound=CommonOptions)
_KEYWORDS = {"target": (PREDICTED, SURE), "contrast": (RUNNER_UP, SURE)}
_INDEX = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class Plan:
    """What the options mean for one model. None as target means its prediction, SURE its sure answer; RUNNER_UP as
    contrast means the best class beside the target."""

    target: Group | str | None
    contrast: Group | str | None
    methods: tuple[str, ...] = METHODS[:1]
    warnings: tuple[Caution, ...] = ()


def validated(schema: type[T], fields: Mapping[str, Any]) -> T:
    """Options of these names. Raises InvalidOption, naming the first that is wrong."""
    if empty := [name for name in LISTS if fields.get(name) == []]:
        raise InvalidOption(f"{empty[0]}: name at least one {singular(empty[0])}")
    try:
        found = TypeAdapter(schema).validate_python(dict(fields))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "body"
        if first["type"] == "unexpected_keyword_argument":
            known = ", ".join(option_fields(schema))
            raise InvalidOption(f"{name}: there is no such option; known options are {known}") from error
        raise InvalidOption(f"{name}: {first['msg']}") from error
    _check_choices(found)
    return found


def check(options: JobOptions) -> None:
    """Raise InvalidOption, naming the option and the allowed values, where a value is not one of them."""
    _check_choices(options)
    if not options.models:
        raise InvalidOption("models: name at least one model")


def _check_choices(options: CommonOptions) -> None:
    for name, option in option_fields(type(options)).items():
        given = getattr(options, name)
        for value in given if isinstance(given, tuple) else (given,):
            allowed = choices_of(option)
            if allowed and value not in allowed:
                raise InvalidOption(f"{name}: {value!r} is not one of {', '.join(allowed)}")


def best_methods(able: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """What is computed where nobody says otherwise: the best of what each model is `able` to do, in their order."""
    return tuple(dict.fromkeys(methods[0] for methods in able))


def is_long(options: JobOptions) -> bool:
    """Whether a job takes many passes through a network, and so is better not batched with others."""
    return options.trust == "full" or any(method in LONG_METHODS for method in options.methods)


def plan(options: JobOptions, registry: Registry) -> dict[str, Plan]:
    """Resolve classes, nodes and methods for every named model; where no method is asked for, each has the best that it
    can do. What some models lack is theirs to warn of; what all lack, or an index with more than one model, raises
    InvalidOption."""
    cards = [registry.get(name) for name in options.models]
    _some_model_can(options.methods, cards)
    wanted = None if options.target == PREDICTED else options.target
    targets = _resolve("target", wanted, cards)
    contrasts = _resolve("contrast", options.contrast, cards)
    plans = {}
    for card in cards:
        target = targets.get(card.name)
        contrast = contrasts.get(card.name)
        asked = ((wanted, target), (options.contrast, contrast))
        missing = [word for word, found in asked if word is not None and found is None]
        if target is not None and target == contrast:
            raise InvalidOption("contrast: a class or node cannot be contrasted with itself")
        methods = tuple(method for method in options.methods or card.methods[:1] if method in card.methods)
        lacking = [_method_not_in_model(card, method) for method in options.methods if method not in methods]
        warnings = (*(_class_not_in_model(card, word) for word in missing), *lacking)
        plans[card.name] = Plan(target, contrast, methods, warnings)
    return plans


def _some_model_can(methods: Sequence[str], cards: Sequence[ModelCard]) -> None:
    for method in methods:
        if any(method in card.methods for card in cards):
            continue
        able = [one for one in METHODS if any(one in card.methods for card in cards)]
        reasons = "; ".join(f"{card.name} is {card.limit}" for card in cards)
        raise InvalidOption(f"methods: {method!r} cannot be computed ({reasons}); allowed are {', '.join(able)}")


def _resolve(option: str, word: str | None, cards: Sequence[ModelCard]) -> dict[str, Group | str]:
    """By model name, for the models that have it: the group of classes, or the keyword, whose meaning each image's
    answer decides. Nothing without a word."""
    if word is None:
        return {}
    if word in _KEYWORDS[option]:
        return dict.fromkeys((card.name for card in cards), word)
    if _INDEX.fullmatch(word):
        if len(cards) > 1:
            raise InvalidOption(f"{option}: a class index needs exactly one model; name the class instead")
        index = int(word)
        if not 0 <= index < cards[0].class_count:
            raise InvalidOption(
                f"{option}: {word} is not a class of {cards[0].name}; 0 to {cards[0].class_count - 1} are"
            )
        return {cards[0].name: cards[0].class_group(index)}
    try:
        found = {card.name: group for card in cards if (group := card.group(word)) is not None}
    except InvalidOption as error:
        raise InvalidOption(f"{option}: {error}") from error
    if not found:
        known, keywords = ", ".join(card.name for card in cards), ", ".join(map(repr, _KEYWORDS[option]))
        raise InvalidOption(
            f"{option}: {word!r} is not a class of {known}{_did_you_mean(word, cards)}; allowed are {keywords}, a "
            "class's name or index, or the id or name of a node of the tree"
        )
    return {**found}


def _did_you_mean(word: str, cards: Sequence[ModelCard]) -> str:
    """The classes that are called nearly so, in brackets; nothing where there are none."""
    names = {short_name(name).casefold(): short_name(name) for card in cards for name in card.classes}
    near = get_close_matches(word.strip().casefold(), names, n=3)
    return f" (did you mean {', '.join(names[one] for one in near)}?)" if near else ""


def _class_not_in_model(card: ModelCard, word: str) -> Caution:
    text = f"{card.name} does not know the class {word!r}; it explains its own prediction instead."
    return Caution(code="class_not_in_model", params={"model": card.name, "class": word}, text=text)


def _method_not_in_model(card: ModelCard, method: str) -> Caution:
    text = f"{card.name} cannot be explained by {method}: {reason_of(card.head)}."
    return Caution(code="method_not_in_model", params={"model": card.name, "method": method}, text=text)
