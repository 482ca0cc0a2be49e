"""The environment of a role, made of the tests' own: a process that does not find what the role's would not have."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shared.settings import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: Mapping[str, list[str]] = PROJECT["optional-dependencies"]
OURS = {"bench", "cli", "pathlight_client", "shared", "tests", "training", "web", "worker"}
# What finds modules is asked for the others only, and tells of no other distribution: neither an import, nor a look at
# whether a module is there, nor a question for a version shows what is absent.
_WITHOUT = """
import json, re, sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)
    def find_distributions(self, *context):
        for found in getattr(self.finder, "find_distributions", lambda *_: ())(*context):
            if re.sub("[-_.]+", "-", found.metadata["Name"]).lower() in present:
                yield found
    def __getattr__(self, name):
        return getattr(self.finder, name)
present, absent = (set(names) for names in json.loads(sys.argv.pop(1)))
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def listed(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for: its dependencies, and those of some extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in EXTRAS[extra])]
    return [Requirement(text) for text in texts]


def names(requirements: Iterable[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


def installed(requirements: Iterable[Requirement]) -> set[str]:
    """The distributions that pip would install for these: themselves, and all that they depend on."""
    found: set[str] = set()
    left = [(canonicalize_name(one.name), extra) for one in requirements for extra in ("", *one.extras)]
    seen = set(left)
    while left:
        name, extra = left.pop()
        found.add(name)
        for needed in _requires(name):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                more = {(canonicalize_name(needed.name), wanted) for wanted in ("", *needed.extras)} - seen
                seen |= more
                left += more
    return found


@cache
def owners() -> Mapping[str, frozenset[str]]:
    """The distributions that bring a module, by its top-level name."""
    return {name: frozenset(map(canonicalize_name, those)) for name, those in packages_distributions().items()}


@cache
def _requires(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in requires(name) or ()]
    except PackageNotFoundError:  # of another platform, or of another build of torch
        return []


def python_with(distributions: Iterable[str], *, but: Sequence[str] = ()) -> list[str]:
    """The beginning of a command, to be followed by code and its arguments: it finds no module of other distributions
    than these and our own, and none of the modules `but`."""
    present = {*distributions, PROJECT["name"]}
    absent = {name for name, those in owners().items() if present.isdisjoint(those) and name not in OURS}
    told = json.dumps([sorted(present), sorted(absent.union(but))])
    return [sys.executable, "-c", f"{_WITHOUT}exec(sys.argv.pop(1))", told]
