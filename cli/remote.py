"""A running service, as the command line talks to it: every refusal becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pathlight_client import Pathlight, Refused, Unreachable
from shared.errors import PathlightError


@contextmanager
def service(address: str, *, api_key: str | None) -> Iterator[Pathlight]:
    """The service at an address. Raises PathlightError with the service's own sentence."""
    with refusals_told(), Pathlight(address, api_key=api_key) as pathlight:
        yield pathlight


@contextmanager
def refusals_told() -> Iterator[None]:
    """What the client raises becomes a PathlightError with its sentence."""
    try:
        yield
    except (Refused, Unreachable) as error:
        raise PathlightError(str(error)) from error
