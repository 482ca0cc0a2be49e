"""News of a job: the scripts of the store publish every change, and whoever follows the job hears of it here."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis
from redis.client import PubSub

from shared.errors import StoreUnavailable
from shared.store.connection import answering

SUBSCRIBE_SECONDS = 5.0


class Changes:
    """A subscription. It says that something changed, not what: the job itself is read from the store."""

    def __init__(self, subscription: PubSub) -> None:
        self._subscription = subscription

    @classmethod
    def on(cls, client: redis.Redis, channels: Sequence[str]) -> Changes:
        """Subscribe; on return nothing said on the channels is missed. Raises StoreUnavailable."""
        subscription: PubSub = client.pubsub()
        try:
            with answering():
                subscription.subscribe(*channels)
                for _ in channels:
                    if subscription.get_message(timeout=SUBSCRIBE_SECONDS) is None:
                        raise StoreUnavailable("Redis does not confirm a subscription")
        except StoreUnavailable:
            subscription.close()
            raise
        return cls(subscription)

    def wait(self, seconds: float) -> bool:
        """Whether anything was said within `seconds`; what was said together counts once. Raises StoreUnavailable."""
        until = time.monotonic() + seconds
        heard = False
        with answering():
            while (left := 0.0 if heard else until - time.monotonic()) >= 0:
                message = self._subscription.get_message(ignore_subscribe_messages=True, timeout=left)
                if message is None and heard:
                    break
                heard = heard or message is not None
        return heard

    def close(self) -> None:
        """End the subscription."""
        self._subscription.close()
