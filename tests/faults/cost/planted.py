"""Planted faults: a web server with guards taken out, to show that the rig finds just that.

The product knows nothing of it: gunicorn and the decoders of that server load this module, which changes the product's
before they begin. The faults are named in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from shared.images.sandbox import decode, decoders

if TYPE_CHECKING:
    from flask_openapi3 import OpenAPI

PLANTED = "PATHLIGHT_COST_PLANTED"
MODULE = "tests.faults.cost.planted"
APPLICATION = f"{MODULE}:application()"


class _Everything:
    """What everything is in."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True)
class Fault:
    """Guards that are taken out: names of the product with what they stand for instead, and other limits of decoders.
    `found_by` are the attacks that then go over the budget, with how much of each is enough for that, 0 to 1."""

    found_by: Mapping[str, float]
    names: Mapping[str, object] = field(default_factory=dict)
    decoders: Mapping[str, object] = field(default_factory=dict)


FAULTS: dict[str, Fault] = {
    "any number of scans": Fault(
        {"JPEG of 2,000 scans, with MPF": 0.02}, {"shared.images.decode.MOST_SCANNED": 10**18}
    ),
    "every chunk is kept": Fault(
        {"PNG of 9,000 profiles": 0.4, "PNG of 9,000 broken texts": 0.05},
        {"shared.images.containers._PNG_USED": _Everything()},
    ),
    "decoders may take long": Fault({"tar of header records": 0.5}, decoders={"seconds": 1000.0}),
    "any number of values": Fault(
        {"JSON of millions of objects": 0.05, "JSON of a million unknown names": 0.05},
        {"web.api.submission.MOST_VALUES": 10**18},
    ),
    "archives unpack to anything": Fault(
        {"zip of zeros": 0.1, "tar.gz of zeros": 0.1}, {"shared.images.archives.UNPACKED_AT_LEAST": 1 << 50}
    ),
    "drawings of all pixels, without turns": Fault(
        {"12 pictures drawn at once": 1.0},
        {"web.api.artifacts.usable_cores": lambda: 1000, "web.api.artifacts.read_shown": decoders.read_explained},
    ),
}

GUARDED = {name: share for fault in FAULTS.values() for name, share in fault.found_by.items()}
"""The attacks whose guards there are faults for, each with how much of it is enough."""


def application() -> OpenAPI:
    """For gunicorn."""
    _plant(("shared", "web"))
    _begin_decoders_here()
    application: OpenAPI = import_module("web.app").from_environment()
    return application


def _planted() -> list[Fault]:
    return [FAULTS[name] for name in os.environ.get(PLANTED, "").split(";") if name]


def _plant(packages: tuple[str, ...]) -> None:
    """Change the names in these packages. A decoder loads no other: what it takes to begin counts."""
    for fault in _planted():
        for name, value in fault.names.items():
            module, _, attribute = name.rpartition(".")
            if module.startswith(packages):
                setattr(import_module(module), attribute, value)


def _begin_decoders_here() -> None:
    """Have decoders load this module, and give them the limits of the planted faults."""
    begin = decoders.Decoder.__init__
    limits = {name: value for fault in _planted() for name, value in fault.decoders.items()}

    def begun(decoder: decoders.Decoder, **given: Any) -> None:
        begin(decoder, **{**given, **limits})

    decoders.PROGRAM = MODULE
    setattr(decoders.Decoder, "__init__", begun)  # noqa: B010 - the type checker takes a method for fixed


if __name__ == "__main__":  # a decoder
    _plant(("shared",))
    decode.main(*decode.arguments(sys.argv))
