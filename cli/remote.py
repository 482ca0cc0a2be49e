"""A running service, as the command line talks to it: every refusal becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from client import Pathlight, Refused, Unreachable
from shared.errors import PathlightError


@contextmanager
def service(address: str, *, api_key: str | None) -> Iterator[Pathlight]:
    """The service at an address. Raises PathlightError with the service's own sentence."""
    try:
        with Pathlight(address, api_key=api_key) as pathlight:
            yield pathlight
    except (Refused, Unreachable) as error:
        raise PathlightError(str(error)) from error
