"""models.toml: the models that somebody adds to those that ship. One table a model, of its name:

    [pets]
    architecture = "torchvision/mobilenet_v3_small"
    weights = "pets.safetensors"       # or a state dict (.pth, .pt), from this file's folder
    classes = "pets.txt"               # one name a line, or a list of names; without it torchvision's ImageNet names
    hierarchy = "pets.json"            # optional, like title and tree_supervised
    size = 224                         # optional, like resize, crop, mean, std and interpolation: else the library's

The file is the operator's. It only declares: `pathlight models add` checks what it says and makes the card.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import InvalidSetting, StorageFailed
from shared.files import replacing

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
INTERPOLATIONS = ("bilinear", "bicubic")
LARGEST_SIDE = 2048  # pixels


@dataclass(frozen=True)
class Declaration:
    """One entry. `folder` is where its relative paths start; `entry` is the table as it was written."""

    name: str
    entry: Mapping[str, Any]
    folder: Path

    def __post_init__(self) -> None:
        _check(self.name, self.entry)

    @property
    def architecture(self) -> str:
        return str(self.entry["architecture"])

    @property
    def weights(self) -> Path:
        return self.folder / str(self.entry["weights"])

    @property
    def classes(self) -> tuple[str, ...] | Path | None:
        """The names, the file of the names, or None where the library's are meant."""
        given = self.entry.get("classes")
        if isinstance(given, list):
            return tuple(given)
        return None if given is None else self.folder / given

    @property
    def hierarchy(self) -> Path | None:
        given = self.entry.get("hierarchy")
        return None if given is None else self.folder / given

    @property
    def title(self) -> str:
        return str(self.entry.get("title", self.architecture))

    @property
    def tree_supervised(self) -> bool:
        return bool(self.entry.get("tree_supervised", False))

    @property
    def input(self) -> dict[str, Any]:
        """What it says of the input, by the names of `InputSpec`."""
        return {key: self.entry[key] for key in _INPUT if key in self.entry}


def declarations(path: Path) -> dict[str, Declaration]:
    """The entries of a models.toml by name; none where there is no file. Raises InvalidSetting."""
    try:
        tables = tomllib.loads(_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"{path} is not readable: {error}") from error
    return {name: Declaration(name, table, path.parent) for name, table in tables.items()}


def declare(path: Path, declaration: Declaration) -> None:
    """Write an entry to the end of the file, in the place of an earlier one of that name; the rest stays as it is. The
    file is written once, so that a reader meets the earlier entry or this one. Raises as `withdraw`."""
    text = text_with(path, declaration)
    if text is not None:
        _write(path, text)


def text_with(path: Path, declaration: Declaration) -> str | None:
    """What the file is to say for an entry to be in it; None where it says so already. Raises as `withdraw`."""
    known = declarations(path).get(declaration.name)
    if known is not None and known.entry == declaration.entry:
        return None
    before = "" if not path.exists() else _text(path) if known is None else _without(path, declaration.name)
    lines = [
        f"[{declaration.name}]",
        *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in declaration.entry.items()),
    ]
    separator = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    return before + separator + "\n".join(lines) + "\n"


def withdraw(path: Path, name: str) -> None:
    """Take an entry out of the file. Raises InvalidSetting where it is written in a way that only a person can undo."""
    _write(path, _without(path, name))


def _text(path: Path) -> str:
    """What the file says; some editors begin one with a byte-order mark."""
    return path.read_text("utf-8-sig")


def _without(path: Path, name: str) -> str:
    """What the file says without an entry."""
    kept, inside = [], False
    for line in _text(path).splitlines(keepends=True):
        if line.lstrip().startswith("["):
            inside = line.split("#")[0].strip() in (f"[{name}]", f'["{name}"]')
        if not inside:
            kept.append(line)
    text = "".join(kept).rstrip("\n") + "\n" if "".join(kept).strip() else ""
    wanted = {other: one.entry for other, one in declarations(path).items() if other != name}
    try:
        found = tomllib.loads(text)
    except ValueError:
        found = None
    if found != wanted:
        raise InvalidSetting(f"the entry of {name} in {path} is not a plain table; take it out by hand")
    return text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(text, "utf-8")
    except OSError as error:
        raise StorageFailed(f"{path} cannot be written: {error.strerror}") from error


def _check(name: str, entry: Mapping[str, Any]) -> None:
    if not NAME.fullmatch(name):
        raise InvalidSetting(
            f"{name!r} cannot name a model: 1 to 64 small letters, digits, - and _ can, with a letter or digit first"
        )
    if not isinstance(entry, Mapping):
        raise InvalidSetting(f"models.toml: {name} must be a table, [{name}]")
    for key in ("architecture", "weights"):
        if key not in entry:
            raise InvalidSetting(f"models.toml: {name} needs {key}")
    for key, value in entry.items():
        if key not in _FIELDS:
            raise InvalidSetting(f"models.toml: {name} has an unknown key {key!r}; known are {', '.join(_FIELDS)}")
        valid, wanted = _FIELDS[key]
        if not valid(value):
            raise InvalidSetting(f"models.toml: {key} of {name} is {value!r}, it must be {wanted}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def _is_side(value: object) -> bool:
    return type(value) is int and 8 <= value <= LARGEST_SIDE


def _is_triple(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and abs(v) < 1e6 for v in value)


def _is_names(value: object) -> bool:
    return _is_text(value) or (isinstance(value, list) and len(value) > 1 and all(map(_is_text, value)))


_Rule = tuple[Callable[[Any], bool], str]
_TEXT: _Rule = (_is_text, "a text on one line")
_SIDE: _Rule = (_is_side, f"a whole number of pixels from 8 to {LARGEST_SIDE}")
_INPUT: Mapping[str, _Rule] = {
    "resize": _SIDE,
    "crop": _SIDE,
    "size": _SIDE,
    "mean": (_is_triple, "a list of three numbers"),
    "std": (lambda value: _is_triple(value) and all(v > 0 for v in value), "a list of three numbers above zero"),
    "interpolation": (lambda value: value in INTERPOLATIONS, f"one of {', '.join(INTERPOLATIONS)}"),
}
_FIELDS: Mapping[str, _Rule] = {
    "architecture": _TEXT,
    "weights": _TEXT,
    "classes": (_is_names, "the path of a file or a list of at least two names"),
    "hierarchy": _TEXT,
    "title": _TEXT,
    "tree_supervised": (lambda value: type(value) is bool, "true or false"),
    **_INPUT,
}
