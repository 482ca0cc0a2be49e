"""Tell addresses of jobs that have ended: signed, a few at once, again after growing pauses where nobody listens.

The signature is that of Standard Webhooks (standardwebhooks.com), for which receivers find libraries in most languages:
HMAC-SHA256 over `id.timestamp.body`. The id is the job's and the same at every attempt, so that a receiver can tell a
repetition.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from shared import json_text
from shared.blobs import BlobStore
from shared.documents import job_document
from shared.errors import PathlightError, StoreUnavailable, UnknownJob
from shared.outbound import Outbound
from shared.results import unpack_document
from shared.settings import Settings
from shared.store import JobStore
from shared.tracing import Trace, tracing
from shared.webhooks import Delivery

log = logging.getLogger(__name__)

AT_ONCE = 8  # so that a few receivers who do not answer hold up nobody else
TURN_SECONDS = 10.0  # a run hands over to a new task after so long
LONGEST_PAUSE_SECONDS = 6 * 3600.0


def sign(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a webhook. `timestamp` is in seconds since the epoch."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def pause_after(attempt: int, *, first: float) -> float:
    """Seconds between an attempt and the next: four times as long each time, up to six hours."""
    return min(first * 4.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)


class Sender:
    """Sends what is due. `ring` wakes another sender where work is left."""

    def __init__(
        self, store: JobStore, blobs: BlobStore, settings: Settings, *, outbound: Outbound, ring: Callable[[], None]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._outbound = outbound
        self._ring = ring

    def run(self) -> int:
        """Send until nothing is due or it is time to hand over; how many attempts were made."""
        until = time.monotonic() + TURN_SECONDS
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sender") as threads:
            made = sum(threads.map(self._send_until, [until] * AT_ONCE))
        if self._store.webhooks.due():
            self._ring()
        return made

    def _send_until(self, until: float) -> int:
        made = 0
        while time.monotonic() < until:
            deliveries = self._store.webhooks.claim(1, claim_id=secrets.token_hex(8))
            if not deliveries:
                break
            with tracing(Trace(deliveries[0].request_id, deliveries[0].job_id)):
                self._deliver(deliveries[0])
            made += 1
        return made

    def _deliver(self, delivery: Delivery) -> None:
        try:
            self._settle(delivery, self._attempt(delivery))
        except UnknownJob:  # forgotten after its retention
            self._store.webhooks.done(delivery)
        except StoreUnavailable as error:  # the lease runs out and it is tried again
            log.warning("whether the webhook of job %s was heard is not known: %s", delivery.job_id, error)

    def _attempt(self, delivery: Delivery) -> str | None:
        """Post the job as it ended; what went wrong, or None where the receiver has taken it."""
        job = self._store.get(delivery.job_id)
        try:
            result = unpack_document(self._blobs.get(job.result_ref)) if job.result_ref else None
            body = json_text.encode(job_document(job, result, base=self._settings.public_url.rstrip("/")))
            signed = sign(self._settings.webhook_key, message_id=job.id, timestamp=int(time.time()), body=body)
            status = self._outbound.post(
                delivery.address,
                headers={**signed, "Content-Type": "application/json"},
                body=body,
                seconds=self._settings.outbound_seconds,
            )
        except PathlightError as error:
            return str(error)
        return None if 200 <= status < 300 else f"its receiver answers with status {status}"

    def _settle(self, delivery: Delivery, trouble: str | None) -> None:
        name, attempt = delivery.job_id, delivery.attempt
        if trouble is None:
            self._store.webhooks.done(delivery)
            log.info("the webhook of job %s was delivered at attempt %d", name, attempt)
        elif attempt >= self._settings.webhook_attempts:
            self._store.webhooks.done(delivery)
            log.warning("the webhook of job %s is given up after %d attempts: %s", name, attempt, trouble)
        else:
            seconds = pause_after(attempt, first=self._settings.webhook_pause_seconds)
            self._store.webhooks.again(delivery, seconds=seconds)
            log.warning("the webhook of job %s is sent again in %.0f s: %s", name, seconds, trouble)
