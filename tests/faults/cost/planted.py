"""Planted faults: a web server with guards taken out, to show that the rig finds just that.

The product knows nothing of it: gunicorn and the decoders of that server load this module, which changes the product's
before they begin. The faults are named in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask_openapi3 import OpenAPI

import shared.archives
import shared.containers
import shared.images
import web.artifacts
import web.submission
from cli.run import web_command
from shared.sandbox import decode, decoders
from shared.settings import Settings
from web.app import from_environment

PLANTED = "PATHLIGHT_COST_PLANTED"
MODULE = "tests.faults.cost.planted"


class _Everything:
    """What everything is in."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True)
class Fault:
    """A guard that is taken out, and the attacks that then go over the budget, with how much of each is enough for
    that, 0 to 1."""

    remove: Callable[[], None]
    found_by: Mapping[str, float]


def _setting(place: Any, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(place, name, value)


def _decoders_with(**changes: object) -> Callable[[], None]:
    def remove() -> None:
        _around_decoders(lambda given: {**given, **changes})

    return remove


FAULTS: dict[str, Fault] = {
    "any number of scans": Fault(
        _setting(shared.images, "MOST_SCANNED", 10**18), {"JPEG of 2,000 scans, with MPF": 0.02}
    ),
    "every chunk is kept": Fault(
        _setting(shared.containers, "_PNG_USED", _Everything()),
        {"PNG of 9,000 profiles": 0.4, "PNG of 9,000 broken texts": 0.05},
    ),
    "decoders may take long": Fault(_decoders_with(seconds=1000.0), {"tar of header records": 0.6}),
    "any number of values": Fault(
        _setting(web.submission, "MOST_VALUES", 10**18),
        {"JSON of millions of objects": 0.05, "JSON of a million unknown names": 0.05},
    ),
    "archives unpack to anything": Fault(
        _setting(shared.archives, "UNPACKED_AT_LEAST", 1 << 50), {"zip of zeros": 0.1, "tar.gz of zeros": 0.1}
    ),
    "drawings without turns": Fault(
        _setting(web.artifacts, "usable_cores", lambda: 1000), {"12 pictures drawn at once": 1.0}
    ),
}

GUARDED = {name: share for fault in FAULTS.values() for name, share in fault.found_by.items()}
"""The attacks whose guards there are faults for, each with how much of it is enough."""


def command(settings: Settings) -> list[str]:
    """What starts a web server with the faults that the environment names."""
    return [*web_command(settings)[:-1], f"{MODULE}:application()"]


def application() -> OpenAPI:
    """For gunicorn."""
    _plant()
    return from_environment()


def _plant() -> None:
    _around_decoders(lambda given: given)
    for name in filter(None, os.environ.get(PLANTED, "").split(";")):
        FAULTS[name].remove()


def _around_decoders(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Decoders that load this module, begun with other limits."""
    begin = decoders.Decoder.__init__

    def begun(decoder: decoders.Decoder, **given: Any) -> None:
        begin(decoder, **change(given))
        decoder._command[2] = MODULE

    setattr(decoders.Decoder, "__init__", begun)  # noqa: B010 - the type checker takes a method for fixed


if __name__ == "__main__":  # a decoder: its seconds and bytes
    _plant()
    decode.main(float(sys.argv[1]), int(sys.argv[2]))
