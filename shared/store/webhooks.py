"""The schedule of webhooks: which ended jobs are still to be told to an address, and when. Part of the job store.

A job's end puts it on the schedule in the same script, so that no end goes untold. A claimed delivery is due again when
its lease has run out: a sender that dies loses nothing, and a receiver may hear of a job more than once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import redis

from shared.settings import Settings
from shared.store.connection import Scripts, present

_NAMES = ("claim_webhooks", "settle_webhook", "webhooks_due")


@dataclass(frozen=True)
class Delivery:
    """One attempt at telling one address of one job; `attempt` counts from one."""

    job_id: str
    attempt: int
    address: str = field(repr=False)  # it may hold a secret of its receiver
    request_id: str = ""  # of the request that brought the job
    receiver: str = field(default="", repr=False, compare=False)  # the part of the address that names the host
    sharer: str = field(default="", compare=False)  # whose job it is


class WebhookSchedule:
    """The schedule on a Redis server. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._settings = settings
        self._scripts = Scripts(client, _NAMES)

    def claim(
        self, most: int, *, claim_id: str, busy_receivers: Sequence[str] = (), busy_sharers: Sequence[str] = ()
    ) -> list[Delivery]:
        """Take up to `most` deliveries that are due, none to these receivers or of these sharers. The same `claim_id`
        returns the same ones."""
        texts = self._scripts.call(
            "claim_webhooks",
            most=most,
            claim=claim_id,
            lease_ms=round(1000 * (2 * self._settings.outbound_seconds + 5)),
            max_attempts=self._settings.webhook_attempts,
            busy_receivers=busy_receivers,
            busy_sharers=busy_sharers,
        )
        return [Delivery(**json.loads(text)) for text in texts]

    def done(self, delivery: Delivery) -> None:
        """The job was told, or will never be: it leaves the schedule."""
        self._settle(delivery)

    def again(self, delivery: Delivery, *, seconds: float) -> None:
        """Try once more after so many seconds."""
        self._settle(delivery, wait_ms=round(1000 * seconds))

    def due(self) -> bool:
        """Whether anything is to be sent now."""
        return bool(self._scripts.call("webhooks_due"))

    def _settle(self, delivery: Delivery, *, wait_ms: int | None = None) -> None:
        """The attempt is compared with what Redis keeps, a text."""
        attempt = str(delivery.attempt)
        self._scripts.call("settle_webhook", id=delivery.job_id, attempt=attempt, **present(wait_ms=wait_ms))
