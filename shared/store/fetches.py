"""Fetches of upstream models that somebody asked the service for: who waits, how far each is, and how it ended.

As with jobs, the store is the truth and a Celery message only a doorbell. A fetch is under a lease that its process
renews with every report, so that one whose process died is not under way for ever. How it ended is told for an hour.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import redis

from shared.settings import Settings
from shared.store.connection import Scripts, connect, present

_NAMES = ("fetch_begin", "fetch_claim", "fetch_report")
LOOK_SECONDS = 0.5  # for which Redis is waited for
LEASE_SECONDS = 30.0  # without a report; to the first one, for a process that is still at another fetch, WAIT_SECONDS
WAIT_SECONDS = 1800.0
KEPT_SECONDS = 3600.0


class FetchState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_LAPSED = {
    FetchState.WAITING: "nobody took it up in time; try again",
    FetchState.RUNNING: "the process that fetched it ended in the middle; try again",
}


@dataclass(frozen=True)
class Fetch:
    """One fetch: bytes received, bytes in all where upstream says so, and one sentence where it failed."""

    state: FetchState
    done: int = 0
    total: int | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


class FetchStore:
    """Fetches by the names of their models. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._scripts = Scripts(client, _NAMES)
        self._looking = Scripts(connect(settings, seconds=LOOK_SECONDS), ("fetch_look",))

    def begin(self, name: str) -> bool:
        """Have a model fetched. False where it is waited for or under way already: the second caller joins in."""
        return bool(self._scripts.call("fetch_begin", model=name, **_PATIENCE, kept_ms=_KEPT_MS))

    def claim(self, *, claim_id: str) -> str | None:
        """Take the next model that waits. The same `claim_id` returns the same one while it is fetched."""
        return self._scripts.call("fetch_claim", claim=claim_id, kept_ms=_KEPT_MS) or None

    def report(self, name: str, fetch: Fetch, *, claim_id: str) -> bool:
        """Say how far a fetch is, or how it ended. False where it was given up meanwhile: nothing changes."""
        applies = self._scripts.call(
            "fetch_report",
            model=name,
            claim=claim_id,
            state=fetch.state,
            done=fetch.done,
            error=fetch.error or "",
            kept_ms=_KEPT_MS,
            **present(total=fetch.total),
        )
        return bool(applies)

    def look(self, names: Sequence[str]) -> dict[str, Fetch]:
        """The fetches there are of these models. Does not wait long: pages tell of them that need Redis for nothing
        else."""
        if not names:
            return {}
        texts = self._looking.call("fetch_look", models=names, **_PATIENCE)
        return {name: _fetch(json.loads(text)) for name, text in zip(names, texts, strict=True) if text}


_PATIENCE = {"lease_ms": round(LEASE_SECONDS * 1000), "wait_ms": round(WAIT_SECONDS * 1000)}
_KEPT_MS = round(KEPT_SECONDS * 1000)


def _fetch(data: dict[str, Any]) -> Fetch:
    total = int(data["total"]) if data.get("total") else None
    if data["lapsed"]:
        return Fetch(FetchState.FAILED, int(data["done"]), total, _LAPSED[data["state"]])
    return Fetch(FetchState(data["state"]), int(data["done"]), total, data.get("error") or None)
