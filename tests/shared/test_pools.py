"""Pools: a worker takes what its pool serves and nothing else, and what nobody serves waits without harm to others."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

import pytest

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.errors import QueueFull
from shared.jobs import Claim, Lane
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from shared.store.pools import Pool
from tests.shared.submissions import raw_client, submission
from worker.queue.keep import Keeper

MakeStore = Callable[..., JobStore]
GPU = {"pool": "gpu", "pool_models": "large,huge"}


def ids(claims: list[Claim]) -> list[str]:
    return [claim.id for claim in claims]


def take(store: JobStore, most: int = 8) -> list[str]:
    return ids(store.claim(most, claim_id=secrets.token_hex(8)))


def here(store: JobStore, settings: Settings, name: str) -> None:
    """A worker of these settings is heard."""
    store.heartbeat(name)
    store.pools.announce(name, Pool.of(settings))


@pytest.mark.parametrize(
    ("models", "taken"),
    [(("large",), True), (("huge", "large"), True), (("small",), False), (("large", "small"), False)],
)
def test_a_worker_takes_a_job_where_its_pool_serves_all_models_of_it(
    make_store: MakeStore, models: tuple[str, ...], taken: bool
) -> None:
    gpu = make_store(**GPU)
    job_id = gpu.submit(submission(models=models))
    assert take(gpu) == ([job_id] if taken else [])
    assert take(make_store()) == ([] if taken else [job_id]), "a worker without a pool takes everything"


def test_a_worker_of_one_lane_leaves_the_other_alone(make_store: MakeStore) -> None:
    store = make_store()
    quick, slow = store.submit(submission()), store.submit(submission(lane=Lane.BULK))
    assert take(make_store(pool="slow", pool_lanes="bulk")) == [slow]
    assert take(make_store(pool="slow", pool_lanes="bulk")) == []
    assert take(make_store(pool="quick", pool_lanes="interactive")) == [quick]


def test_jobs_of_several_kinds_are_taken_in_the_order_in_which_they_came(make_store: MakeStore) -> None:
    gpu = make_store(**GPU)
    jobs = [gpu.submit(submission(models=(name,))) for name in ("large", "small", "huge", "large", "small", "huge")]
    assert take(gpu, 3) == [jobs[0], jobs[2], jobs[3]]
    assert take(gpu, 3) == [jobs[5]]


def test_a_job_that_nobody_serves_waits_is_reported_and_starves_nobody(
    make_store: MakeStore, settings: Settings, blobs: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(queue_limit=6)
    small = make_store(pool="cpu", pool_models="small")
    here(store, small._settings, "one@host")
    lost = [store.submit(submission(models=("unknown",))) for _ in range(6)]
    with pytest.raises(QueueFull):
        store.submit(submission(models=("unknown",)))
    served = [store.submit(submission(models=("small",))) for _ in range(3)]

    waiting, next_one = store.get(lost[0]), store.get(served[0])
    assert (waiting.served, next_one.served) == (False, True)
    assert next_one.position == 1, "what nobody takes does not stand before it"
    (unserved,) = store.pools.staff().unserved
    assert (unserved.lane, unserved.models, unserved.count) == (Lane.INTERACTIVE, ("unknown",), 6)
    keeper = Keeper(store, blobs, settings, ring=lambda: None)
    with caplog.at_level(logging.WARNING):
        keeper.run()
        keeper.run()
    assert [r.message for r in caplog.records] == ["jobs wait for a worker that serves unknown; none is here"]

    assert take(small) == served
    assert take(small) == []
    here(store, settings, "two@host")
    assert store.get(lost[0]).served and store.pools.staff().unserved == []
    assert take(store) == lost


def test_a_worker_counts_while_it_is_heard(make_store: MakeStore, settings: Settings) -> None:
    store = make_store(heartbeat_seconds=1)
    assert store.pools.names() == [""], "somebody may come"
    here(store, make_store(**GPU)._settings, "one@host")
    store.heartbeat("two@host")
    assert store.pools.staff().pools == {Pool("gpu", ("large", "huge")): 1, Pool(): 1}
    assert store.pools.names() == ["", "gpu"]
    time.sleep(1.1)
    assert store.pools.staff().pools == {}
    store.leave("one@host")
    here(store, settings, "three@host")
    with raw_client(settings) as raw:
        assert raw.hkeys(f"{PREFIX}announced") == ["three@host"], "who has left is forgotten"


def test_the_bell_rings_once_in_each_pool_that_is_here(make_store: MakeStore, settings: Settings) -> None:
    store = make_store()
    here(store, make_store(**GPU)._settings, "one@host")
    here(store, make_store(**GPU)._settings, "two@host")
    here(store, make_store(pool="cpu", pool_models="small")._settings, "three@host")
    Bell(make_celery(settings), pools=store.pools.names).ring()
    with raw_client(settings) as raw:
        queues = {name: raw.llen(f"{PREFIX}{name}") for name in ("drain", "drain.gpu", "drain.cpu")}
    assert queues == {"drain": 0, "drain.gpu": 1, "drain.cpu": 1}


def test_a_place_counts_whoever_the_same_workers_take_before(make_store: MakeStore, settings: Settings) -> None:
    store = make_store()
    here(store, make_store(**GPU)._settings, "one@host")
    here(store, make_store(pool="slow", pool_lanes="bulk")._settings, "two@host")
    store.submit(submission(models=("large",)))
    for _ in range(5):
        store.submit(submission(models=("small",)))
    bulk = [store.submit(submission(models=(name,), lane=Lane.BULK)) for name in ("small", "large", "small")]
    assert store.get(store.submit(submission(models=("huge",)))).position == 2
    assert [store.get(job_id).position for job_id in bulk] == [1, 4, 3]
