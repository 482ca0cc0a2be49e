"""Celery's side of Pathlight: the application both ends share, the names of its tasks, and the doorbell.

A message carries no job. It only wakes a worker, which then asks the job store what waits; so a message that is lost
costs time and one that comes twice costs one empty claim.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from shared import transport
from shared.errors import StoreUnavailable
from shared.settings import Settings
from shared.store.job_store import PREFIX

DRAIN = "pathlight.drain"
KEEP = "pathlight.keep"
DELIVER = "pathlight.deliver"
FETCH = "pathlight.fetch"
DRAIN_QUEUE = "drain"
KEEP_QUEUE = "keep"
DELIVER_QUEUE = "deliver"
FETCH_QUEUE = "fetch"
LOOK_SECONDS = 5.0  # between two looks at which pools there are
RING_SECONDS = 60  # a ring that nobody heard for so long is forgotten

log = logging.getLogger(__name__)


def drain_queue(pool: str) -> str:
    """The queue of the doorbells of a pool's workers."""
    return f"{DRAIN_QUEUE}.{pool}" if pool else DRAIN_QUEUE


def make_celery(settings: Settings) -> Celery:
    """The configured Celery application. Every setting's reason stands in docs/architecture.md."""
    transport.mend()
    app = Celery("pathlight", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_default_queue=DRAIN_QUEUE,
        task_routes={
            DRAIN: {"queue": drain_queue(settings.pool)},
            KEEP: {"queue": KEEP_QUEUE},
            DELIVER: {"queue": DELIVER_QUEUE},
            FETCH: {"queue": FETCH_QUEUE},
        },
        task_soft_time_limit=settings.soft_time_limit_seconds,
        task_time_limit=settings.time_limit_seconds,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_pool="prefork",
        worker_concurrency=settings.concurrency,
        worker_proc_alive_timeout=120,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=settings.soft_shutdown_seconds,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            # A message that a dead worker had noted rings once more; one that rings twice costs an empty claim.
            "visibility_timeout": 2 * settings.lease_seconds,
            "unacked_restore_throttle": 1,  # looks for them every 10 s; kombu's default is every 100 s
            "unacked_mutex_expire": 5,  # where who looked died, or did not hear that it may; kombu's default is 300 s
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": not settings.embedded,
            "health_check_interval": 25,
        },
        beat_schedule=_clock(settings),
        beat_schedule_filename=str(settings.home / "beat"),
    )
    return app


def _clock(settings: Settings) -> dict[str, dict[str, Any]]:
    """What is to be done over and over. The keeper's messages never expire: behind a busy worker all would, one after
    the other, and nobody would reap."""
    keep = {"keep": {"task": KEEP, "schedule": settings.reap_seconds}}
    if not settings.webhook_secret:
        return keep
    return keep | {
        "deliver": {"task": DELIVER, "schedule": settings.reap_seconds, "options": {"expires": RING_SECONDS}}
    }


class Bell:
    """Rings for one worker of each of the `pools` (without them: of the one that has no name); the store has it ring
    for the next where more waits than it takes. A ring that fails is no error: the keeper rings again for it."""

    def __init__(self, app: Celery, *, pools: Callable[[], Sequence[str]] = lambda: ("",)) -> None:
        self._app = app
        self._pools = pools
        self._known: Sequence[str] = ()
        self._looked = -math.inf

    def ring(self) -> None:
        """Ring for one worker of each pool. Where Redis does not answer, jobs wait for the next ring."""
        try:
            for pool in self._heard():
                self._send(DRAIN, queue=drain_queue(pool))
        except StoreUnavailable as error:
            log.warning("the doorbell did not ring: %s", error)

    def ring_sender(self) -> None:
        """Ring for whoever sends webhooks."""
        self._send(DELIVER, queue=DELIVER_QUEUE)

    def ring_fetcher(self) -> None:
        """Ring for the fetcher."""
        self._send(FETCH, queue=FETCH_QUEUE)

    def _send(self, task: str, *, queue: str) -> None:
        try:
            self._app.send_task(task, queue=queue, retry=False, expires=RING_SECONDS)
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the doorbell did not ring: %s", error)

    def _heard(self) -> Sequence[str]:
        """The pools, looked up now and then: a worker that has just come looks by itself for what waits."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._known = self._pools()
            self._looked = time.monotonic()
        return self._known
