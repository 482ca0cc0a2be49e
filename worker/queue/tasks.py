"""The Celery tasks: doorbells start `drain`, `deliver` and `fetch`, the clock starts `keep`. All are thin.

The parent process never loads torch; each pool child builds what it needs on its first task.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from celery import Celery

from shared.blobs.bucket import blob_store
from shared.broker import DELIVER, DRAIN, FETCH, KEEP, Bell
from shared.cards.registry import LiveRegistry
from shared.errors import PathlightError
from shared.settings import Settings
from shared.store.job_store import JobStore
from worker.queue.keep import Keeper

if TYPE_CHECKING:
    from shared.cards.card import ModelCard
    from shared.jobs import Claim
    from shared.results import Result
    from worker.explain.progress import OnProgress
    from worker.explain.query import Query
    from worker.queue.drain import Drain
    from worker.queue.webhooks import Sender


log = logging.getLogger(__name__)

FETCH_SECONDS = 6 * 3600  # of one run of fetches; a host that is silent is given up much sooner


def register(app: Celery, settings: Settings) -> None:
    """Register all tasks on the application."""

    @cache
    def store() -> JobStore:
        return JobStore.connect(settings)

    bell = Bell(app, pools=store().pools.names)

    @cache
    def keeper() -> Keeper:
        return Keeper(store(), blob_store(settings), settings, ring=bell.ring)

    @cache
    def drainer() -> Drain:
        return build_drain(settings, bell)

    @cache
    def sender() -> Sender:
        return build_sender(settings, bell)

    @app.task(name=DRAIN)  # type: ignore[untyped-decorator]
    def drain() -> None:
        drainer().run()
        if settings.webhook_secret and store().webhooks.due():
            bell.ring_sender()

    @app.task(name=KEEP)  # type: ignore[untyped-decorator]
    def keep() -> None:
        keeper().run()

    @app.task(name=FETCH, soft_time_limit=FETCH_SECONDS, time_limit=FETCH_SECONDS + 60)  # type: ignore[untyped-decorator]
    def fetch() -> None:
        from worker.queue.fetcher import Fetcher

        Fetcher(store().fetches, settings).run()

    @app.task(name=DELIVER)  # type: ignore[untyped-decorator]
    def deliver() -> None:
        sender().run()


def build_drain(settings: Settings, bell: Bell) -> Drain:
    """The drain of this process, with its models and its decoders at hand."""
    from shared.images.sandbox.decoders import Decoders
    from worker.engine.model_cache import ModelCache
    from worker.explain.answers import answer
    from worker.queue.drain import Drain

    model_cache = ModelCache(LiveRegistry(settings), share_of_cores=settings.concurrency, precision=settings.precision)
    decoders = Decoders(model_cache.threads)
    decoders.start()  # while models are loaded
    atexit.register(decoders.close)
    for name in settings.served_models or settings.default_models:
        try:
            model_cache.get(name)
        except PathlightError as error:
            log.warning("%s", error)  # jobs that name it fail with this sentence, others run

    def cards(claim: Claim) -> Mapping[str, ModelCard]:
        return model_cache.cards(claim.options.models, claim.versions)

    def answer_batch(batch: Sequence[Query], progress: OnProgress) -> list[Result]:
        model_cache.drop_retired()
        return answer(model_cache, batch, progress=progress)

    return Drain(
        JobStore.connect(settings),
        blob_store(settings),
        settings,
        cards=cards,
        answer=answer_batch,
        take_cores=model_cache.take_cores,
        ring=bell.ring,
        decoders=decoders,
    )


def build_sender(settings: Settings, bell: Bell) -> Sender:
    """The sender of webhooks of this process."""
    from shared.outbound.addresses import Rules
    from shared.outbound.exchange import Outbound
    from worker.queue.webhooks import Sender

    return Sender(
        JobStore.connect(settings),
        blob_store(settings),
        settings,
        outbound=Outbound(Rules.of(settings)),
        ring=bell.ring_sender,
    )
