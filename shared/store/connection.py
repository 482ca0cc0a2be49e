"""The connection to Redis: how it is opened, and the one error for a server that does not answer or takes no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from shared import json_text
from shared.errors import StoreUnavailable
from shared.settings import Settings

PREFIX = "pathlight:"  # of every key that Pathlight has in Redis
SYNC_MILLISECONDS = 500  # that a submit waits for Redis to have written to its disk
_SCRIPTS = Path(__file__).with_name("scripts")

Argument = str | int | float | bool | Sequence["Argument"] | Mapping[str, "Argument"]
"""What a script is given, as JSON. Never None, which Lua takes for true: what there is nothing of is left out."""

Call = tuple[str, Mapping[str, Argument]]
"""A script's name and its arguments by name, as the head of the script tells of them."""


def present(**arguments: Argument | None) -> dict[str, Argument]:
    """Those of the arguments that there are."""
    return {name: value for name, value in arguments.items() if value is not None}


def connect(settings: Settings, *, seconds: float = 5) -> redis.Redis:
    """A client that fails fast: after so many seconds. It connects when it is first asked something."""
    return redis.Redis.from_url(
        settings.store_url,
        decode_responses=True,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
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
        if is_full(error) or "MISCONF" in str(error):
            raise StoreUnavailable(f"Redis takes no more data: {error}") from error
        raise


def is_full(error: redis.ResponseError) -> bool:
    """Whether a command, or one of a script's, was refused for want of memory."""
    return isinstance(error, redis.OutOfMemoryError) or "OOM" in str(error)


class Scripts:
    """Scripts of shared/store/scripts/ on a server, by their names. Each is atomic and safe to send twice."""

    def __init__(self, client: redis.Redis, names: Sequence[str]) -> None:
        self._client = client
        self._version: tuple[int, ...] | None = None  # of the server, once it is needed
        self._loaded: set[str] = set()  # scripts that the server knows, unless it was started again since
        prelude = (_SCRIPTS / "prelude.lua").read_text("utf-8")
        self._scripts = {
            name: client.register_script(prelude + (_SCRIPTS / f"{name}.lua").read_text("utf-8")) for name in names
        }

    def call_all(self, *calls: Call) -> list[Any]:
        """What several scripts return, run one after the other in one round trip. Raises StoreUnavailable."""
        return self._send(calls)

    def call_all_synced(self, *calls: Call) -> list[Any]:
        """As `call_all`, and waits until the server's append-only file has reached the disk with it, where the server
        knows how to (7.2 or later) and keeps such a file. Raises StoreUnavailable where that takes too long."""
        if not self._can_sync():
            return self.call_all(*calls)
        *answers, synced = self._send(calls, "WAITAOF", 1, 0, SYNC_MILLISECONDS)
        if isinstance(synced, list) and synced[0] < 1:
            raise StoreUnavailable(f"Redis did not write to its disk within {SYNC_MILLISECONDS} ms; try again shortly")
        return answers

    def _send(self, calls: Sequence[Call], *command: object) -> list[Any]:
        """Scripts and, perhaps, a command after them, on one connection and without waiting in between. The answer of
        the command may be an error, which is its caller's to judge. By their hashes alone: redis-py's own scripts in a
        pipeline cost one more round trip each time, to ask whether the server knows them."""
        answers = self._attempt(calls, command)
        if any(isinstance(answer, redis.exceptions.NoScriptError) for answer in answers):  # the server is new
            self._loaded.clear()
            answers = self._attempt(calls, command)
        for answer in answers[: len(calls)]:
            if isinstance(answer, Exception):
                with answering():
                    raise answer
        return answers

    def _attempt(self, calls: Sequence[Call], command: Sequence[object]) -> list[Any]:
        new = [name for name, _ in calls if name not in self._loaded]
        with answering(), self._client.pipeline(transaction=False) as pipe:
            for name in new:
                pipe.script_load(self._scripts[name].script)
            for name, arguments in calls:
                pipe.evalsha(self._scripts[name].sha, 1, PREFIX, json_text.encode(arguments))
            if command:
                pipe.execute_command(*command)
            answers = list(pipe.execute(raise_on_error=False))
        self._loaded.update(new)
        return answers[len(new) :]

    def _can_sync(self) -> bool:
        if self._version is None:
            with answering():
                version = str(self._client.info("server")["redis_version"])
            self._version = tuple(int(part) for part in version.split(".")[:2])
        return self._version >= (7, 2)

    def call(self, name: str, /, **arguments: Argument) -> Any:
        """What the script returns. Raises StoreUnavailable."""
        with answering():
            return self._scripts[name](keys=[PREFIX], args=[json_text.encode(arguments)])
