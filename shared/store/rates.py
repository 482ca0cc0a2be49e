"""How often something is asked for: counted in Redis, for all processes together, and also where Redis is full."""

from __future__ import annotations

import math

import redis

from shared.store.connection import Scripts

WINDOW_SECONDS = 60


class Rates:
    """Counts on a Redis server. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis) -> None:
        self._scripts = Scripts(client, ("count_request",))

    def wait_seconds(self, name: str, *, most: int) -> int:
        """Count one more of a name, of which `most` a minute are allowed: 0, or after how many seconds to ask again."""
        wait_ms = self._scripts.call("count_request", name=name, most=most, window_ms=1000 * WINDOW_SECONDS)
        return math.ceil(int(wait_ms) / 1000)
