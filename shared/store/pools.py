"""Pools: workers of one name, who take the jobs of some models or of one lane and leave the rest to others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import redis

from shared.jobs import Lane
from shared.settings import Settings
from shared.store.connection import Scripts

_NAMES = ("pool_announce", "pool_list")


@dataclass(frozen=True)
class Pool:
    """What the workers of a pool take; empty: jobs of every model, of both lanes. A job that names several models is
    taken where all of them are served. The pool without a name is the one that workers belong to by default."""

    name: str = ""
    models: tuple[str, ...] = ()
    lanes: tuple[Lane, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Pool:
        """The pool of this process."""
        return cls(settings.pool, settings.served_models, tuple(map(Lane, settings.served_lanes)))

    def takes(self, models: Collection[str], lane: Lane) -> bool:
        """Whether the pool takes jobs for these models from this lane."""
        return set(models) <= set(self.models or models) and lane in (self.lanes or Lane)

    def to_json(self) -> str:
        """As Redis keeps it."""
        return json.dumps({"pool": self.name, "models": self.models, "lanes": self.lanes})

    @classmethod
    def from_json(cls, text: str) -> Pool:
        """Reads what `to_json` writes."""
        data = json.loads(text)
        return cls(data["pool"], tuple(data["models"]), tuple(map(Lane, data["lanes"])))


@dataclass(frozen=True)
class Waiting:
    """Jobs of one lane that need the same models. `oldest_ms` is how long the first of them has waited."""

    lane: Lane
    models: tuple[str, ...]
    count: int
    oldest_ms: int


@dataclass(frozen=True)
class Staff:
    """The workers heard lately, by pool, and all that waits for them."""

    pools: Mapping[Pool, int]  # how many workers each has
    waiting: tuple[Waiting, ...]

    def waiting_for(self, *pools: Pool) -> list[Waiting]:
        """What any of the pools takes."""
        return [one for one in self.waiting if any(pool.takes(one.models, one.lane) for pool in pools)]

    @property
    def unserved(self) -> list[Waiting]:
        """What no worker takes. It waits until one comes or its deadline passes, and keeps nobody else waiting."""
        return [one for one in self.waiting if not any(pool.takes(one.models, one.lane) for pool in self.pools)]


class PoolStore:
    """Pools in the job store. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._scripts = Scripts(client, _NAMES)
        self._heard_ms = round(settings.heartbeat_seconds * 1000)

    def announce(self, worker: str, pool: Pool) -> None:
        """Say what a worker takes. It counts while the worker is heard (`JobStore.heartbeat`)."""
        self._scripts.call("pool_announce", worker=worker, pool=pool.to_json())

    def staff(self) -> Staff:
        """Who is here, and what waits. A worker that has announced nothing takes everything."""
        announced, waiting = self._scripts.call("pool_list", heard_ms=self._heard_ms)
        return Staff(Counter(map(Pool.from_json, announced)), tuple(map(_waiting, waiting)))

    def names(self) -> list[str]:
        """The pools whom to ring for; the one without a name where nobody is here."""
        return sorted({pool.name for pool in self.staff().pools} or {""})


def _waiting(text: str) -> Waiting:
    data = json.loads(text)
    models = tuple(name for name in data["needs"].split(",") if name)
    return Waiting(Lane(data["lane"]), models, int(data["count"]), int(data["oldest_ms"]))
