"""The connection to Redis: how it is opened, and the one error for a server that does not answer or takes no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared.errors import StoreUnavailable
from shared.settings import Settings

PREFIX = "pathlight:"  # of every key that Pathlight has in Redis
_SCRIPTS = Path(__file__).with_name("scripts")


def connect(settings: Settings) -> redis.Redis:
    """A client that fails fast. It connects when it is first asked something."""
    return redis.Redis.from_url(
        settings.store_url,
        decode_responses=True,
        socket_timeout=5,
        socket_connect_timeout=5,
        # A closed connection is opened again; a silent server is not asked again, which would only add up timeouts.
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2, supported_errors=(redis.ConnectionError,)),
        health_check_interval=25,
    )


@contextmanager
def answering() -> Iterator[None]:
    """Raise StoreUnavailable for a Redis that does not answer or is full."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise StoreUnavailable(f"Redis does not answer: {error}") from error
    except redis.ResponseError as error:
        full = isinstance(error, redis.OutOfMemoryError) or "OOM" in str(error)
        if full or "MISCONF" in str(error):
            raise StoreUnavailable(f"Redis takes no more data: {error}") from error
        raise


class Scripts:
    """Scripts of shared/scripts/ on a server, by their names. Each is atomic and safe to send twice."""

    def __init__(self, client: redis.Redis, names: Sequence[str]) -> None:
        prelude = (_SCRIPTS / "prelude.lua").read_text("utf-8")
        self._scripts = {
            name: client.register_script(prelude + (_SCRIPTS / f"{name}.lua").read_text("utf-8")) for name in names
        }

    def call(self, name: str, *arguments: object) -> Any:
        """What the script returns. Raises StoreUnavailable."""
        with answering():
            return self._scripts[name](keys=[PREFIX], args=[str(argument) for argument in arguments])
