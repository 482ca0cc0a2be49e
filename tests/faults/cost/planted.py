"""Planted faults: the web server with a guard taken out, to show that the rig finds just that.

The product knows nothing of it. `python -m tests.faults.cost.planted run` is `pathlight run` with a web server that
loads this module; the decoders of that server load it too. The faults are named in the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from flask_openapi3 import OpenAPI

import cli.run
import shared.archives
import shared.containers
import shared.images
import web.artifacts
import web.submission
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
        _setting(shared.images, "MOST_SCANNED", 10**18), {"JPEG of 2,000 scans, with MPF": 0.1}
    ),
    "every chunk is kept": Fault(
        _setting(shared.containers, "_PNG_USED", _Everything()),
        {"PNG of 9,000 profiles": 0.4, "PNG of 9,000 broken texts": 0.4},
    ),
    "decoders may take long": Fault(_decoders_with(seconds=1000.0), {"tar of header records": 1.0}),
    "decoders may take much": Fault(_decoders_with(memory_bytes=1 << 40), {"25 megapixels, RGBA PNG on its side": 1.0}),
    "any number of values": Fault(
        _setting(web.submission, "MOST_VALUES", 10**18),
        {"JSON of millions of objects": 0.1, "JSON of a million unknown names": 0.1},
    ),
    "archives unpack to anything": Fault(
        _setting(shared.archives, "UNPACKED_AT_LEAST", 1 << 50), {"zip of zeros": 0.4, "tar.gz of zeros": 0.4}
    ),
    "drawings without turns": Fault(
        _setting(web.artifacts, "usable_cores", lambda: 1000), {"12 pictures drawn at once": 1.0}
    ),
}

GUARDED = {name: share for fault in FAULTS.values() for name, share in fault.found_by.items()}
"""The attacks whose guards there are faults for, each with how much of it is enough."""


def command() -> list[str]:
    """What starts a service with the faults that the environment names."""
    return [sys.executable, "-m", MODULE, "run"]


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


def _run() -> None:
    """As `pathlight run`."""
    usual = cli.run.web_command

    def web_command(settings: Settings) -> list[str]:
        return [*usual(settings)[:-1], f"{MODULE}:application()"]

    with mock.patch.object(cli.run, "web_command", web_command):
        cli.run.run(Settings.load())


def main(words: Sequence[str]) -> None:
    if list(words) == ["run"]:
        _run()
    else:  # a decoder: its seconds and bytes
        _plant()
        decode.main(float(words[0]), int(words[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
