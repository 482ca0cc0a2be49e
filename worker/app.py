"""The Celery worker application: `celery --app worker.app worker`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Collection
from typing import Any

from celery import bootsteps, signals
from celery.beat import EmbeddedService
from celery.exceptions import SecurityWarning

from shared import distribution, logs
from shared.broker import DELIVER, DELIVER_QUEUE, DRAIN, DRAIN_QUEUE, FETCH_QUEUE, KEEP, drain_queue, make_celery
from shared.errors import InvalidSetting, StoreUnavailable
from shared.settings import Settings
from shared.store.job_store import JobStore, Role
from shared.store.pools import Pool
from worker.queue.tasks import register
from worker.queue.watchdog import Watchdog

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
# How often a thread of torch's looks for more work before it sleeps; by default so long that others wait for its core.
# OpenMP reads it when torch is loaded, which only the pool's children do.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Celery warns when it is started as root, because some messages run code when they are read. Here all are JSON.
warnings.simplefilter("ignore", SecurityWarning)
settings = Settings.load()
app = make_celery(settings)
register(app, settings)


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]
    """Tells the job store that this worker is here, from the worker's own event loop, keeps its clock alive, and feeds
    the watchdog."""

    requires = {"celery.worker.components:Timer"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._store = JobStore.connect(settings)
        self._watchdog = Watchdog(JobStore.connect(settings), patience=2 * settings.heartbeat_seconds)
        self._timer: Any = None
        self._new_clock: Any = None

    def start(self, parent: Any) -> None:
        roles = _roles(parent.app.amqp.queues.consume_from)
        if not {Role.WORKER, Role.FETCHER}.isdisjoint(roles):  # keeper and sender load no network
            distribution.need("worker")
        self._watchdog.start()
        signals.worker_shutting_down.connect(self._shutting_down)
        self._beat(parent, roles)
        self._timer = parent.timer.call_repeatedly(HEARTBEAT_SECONDS, self._beat, (parent, roles))

    def terminate(self, parent: Any) -> None:
        self.stop(parent)

    def stop(self, parent: Any) -> None:
        if self._timer:
            self._timer.cancel()
        if self._new_clock:
            self._new_clock.stop()
        try:
            self._store.leave(parent.hostname)
        except StoreUnavailable as error:
            log.warning("could not say good-bye to the store: %s", error)

    def _shutting_down(self, **_: Any) -> None:
        self._watchdog.stop()

    def _beat(self, parent: Any, roles: Collection[Role]) -> None:
        self._watchdog.reset()
        self._keep_clock(parent)
        try:
            for role in roles:
                self._store.heartbeat(parent.hostname, role=role)
            if Role.WORKER in roles:
                self._store.pools.announce(parent.hostname, Pool.of(settings))
        except StoreUnavailable as error:
            log.warning("the store does not hear this worker: %s", error)

    def _keep_clock(self, parent: Any) -> None:
        """Start the embedded clock (--beat) again where its process died. Celery does not, and without it nobody would
        reap lost leases."""
        if parent.beat is None or parent.beat.ident is None or parent.beat.is_alive():
            return  # it has none, or has not started it yet
        log.warning("the clock of the keeper had ended and is started again")
        self._new_clock = parent.beat = EmbeddedService(
            parent.app, schedule_filename=parent.schedule_filename, scheduler_cls=parent.scheduler
        )
        self._new_clock.start()


def _roles(queues: Collection[str]) -> list[Role]:
    """What a process with these queues does. Raises InvalidSetting where it would hear another pool's doorbells."""
    own = drain_queue(settings.pool)
    others = [name for name in queues if name.partition(".")[0] == DRAIN_QUEUE and name != own]
    if others:
        raise InvalidSetting(f"PATHLIGHT_POOL={settings.pool!r} goes with --queues {own}, not with {', '.join(others)}")
    fetcher = [Role.FETCHER] if FETCH_QUEUE in queues else []
    if own in queues:
        return [Role.WORKER, *fetcher]
    if DELIVER_QUEUE in queues:
        return [Role.SENDER, *fetcher]
    return fetcher or [Role.KEEPER]


app.steps["worker"].add(Heartbeat)


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def log_like_the_web_server(**_: Any) -> None:
    """Celery's logging is the web server's."""
    logs.configure(settings)


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def look_once(**_: Any) -> None:
    """On start, look at once for lost leases, waiting jobs and webhooks instead of at the next tick; loads the models
    too."""
    drains = settings.concurrency * [DRAIN]  # one for each process
    for task in (KEEP, *drains, DELIVER) if settings.webhook_secret else (KEEP, *drains):
        app.send_task(task)
