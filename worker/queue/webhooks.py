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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from shared import json_text
from shared.blobs.blob_store import BlobStore
from shared.documents import job_document
from shared.errors import PathlightError, StoreUnavailable, UnknownJob
from shared.outbound.exchange import Outbound
from shared.results import unpack_answer
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.webhooks import Delivery
from shared.tracing import Trace, tracing

log = logging.getLogger(__name__)

AT_ONCE = 32
AT_ONE_RECEIVER = 8  # of them, so that one that does not answer holds up nobody else
OF_ONE_SHARER = 16  # nor one whose receivers all do not
TURN_SECONDS = 10.0  # a run hands over to a new task after so long
LOOK_SECONDS = 0.25  # between two looks at what is due, while something is being sent
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
        """Send until nothing is due or it is time to hand over; how many attempts were made. Rings before the last have
        ended, so that another process goes on while they wait for their receivers."""
        until = time.monotonic() + TURN_SECONDS
        made, flying = 0, dict[Future[None], Delivery]()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="sender") as threads:
            while time.monotonic() < until:
                for delivery in self._next(flying):
                    flying[threads.submit(self._deliver, delivery)] = delivery
                    made += 1
                if not flying:
                    break
                for one in wait(flying, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED).done:
                    del flying[one]
                    one.result()
            if self._store.webhooks.due():
                self._ring()
        return made

    def _next(self, flying: Mapping[Future[None], Delivery]) -> Iterator[Delivery]:
        """What is due now and may be sent beside what is being sent."""
        receivers = Counter(delivery.receiver for delivery in flying.values())
        sharers = Counter(delivery.sharer for delivery in flying.values())
        while receivers.total() < AT_ONCE:
            claimed = self._store.webhooks.claim(
                1,
                claim_id=secrets.token_hex(8),
                busy_receivers=[name for name, count in receivers.items() if count >= AT_ONE_RECEIVER],
                busy_sharers=[name for name, count in sharers.items() if count >= OF_ONE_SHARER],
            )
            if not claimed:
                return
            receivers[claimed[0].receiver] += 1
            sharers[claimed[0].sharer] += 1
            yield claimed[0]

    def _deliver(self, delivery: Delivery) -> None:
        with tracing(Trace(delivery.request_id, delivery.job_id)):
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
            answer = unpack_answer(self._blobs.get(job.result_ref)) if job.result_ref else None
            body = json_text.encode(job_document(job, answer, base=self._settings.public_url.rstrip("/")).to_dict())
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
