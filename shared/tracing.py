"""Which request and which job the work at hand belongs to, so that every line of the log can name them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Trace:
    """What a line of the log belongs to; empty where there is none."""

    request_id: str = ""
    job_id: str = ""

    def named(self) -> dict[str, str]:
        """The ids that there are, by name."""
        return {name: value for name, value in vars(self).items() if value}


_current: ContextVar[Trace] = ContextVar("trace", default=Trace())  # noqa: B039 - it is frozen


def current() -> Trace:
    """The trace of the request or job at hand."""
    return _current.get()


def follow(trace: Trace) -> None:
    """What this thread does from now on belongs to `trace`."""
    _current.set(trace)


@contextmanager
def tracing(trace: Trace) -> Iterator[None]:
    """What is done inside belongs to `trace`."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


def request_id(proposed: str | None) -> str:
    """The id that a client proposes for its request, where it is one that a log can bear; otherwise a new one."""
    return proposed if proposed and _ID.fullmatch(proposed) else secrets.token_hex(8)
