"""News of a job: whoever follows it hears of every change, by publication and not by asking."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from shared.errors import StoreUnavailable
from shared.jobs import JobError, Lane
from shared.settings import Settings
from shared.store.changes import Changes
from shared.store.job_store import JobStore
from tests.shared.submissions import RESULT, lose_lease, raw_client, submission

SOON, NOTHING = 2.0, 0.05


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


def followed(store: JobStore, lane: Lane = Lane.INTERACTIVE) -> tuple[str, Changes]:
    job_id = store.submit(submission(lane=lane))
    return job_id, store.changes(store.get(job_id))


def test_every_step_of_a_job_is_heard_and_silence_is_silence(store: JobStore, raw: redis.Redis) -> None:
    job_id, changes = followed(store)

    def after(step: Callable[[], object]) -> bool:
        step()
        return changes.wait(SOON)

    with closing(changes):
        assert not changes.wait(NOTHING)
        claims = []
        assert after(lambda: claims.extend(store.claim(1, claim_id="a")))
        assert after(lambda: store.report([claims[0]], done=1, total=2, stage="rise"))
        assert after(lambda: store.release(claims[0]))
        assert after(lambda: claims.extend(store.claim(1, claim_id="b")))
        lose_lease(raw, job_id)
        assert after(store.reap)
        assert after(lambda: claims.extend(store.claim(1, claim_id="c")))
        assert after(lambda: store.succeed(claims[2], RESULT, compute_ms=1.0))
        assert not changes.wait(NOTHING)


def test_a_job_that_fails_or_is_cancelled_is_heard(store: JobStore) -> None:
    failing, changes = followed(store)
    with closing(changes):
        store.fail(store.claim(1, claim_id="a")[0], JobError("internal", "It broke."))
        assert changes.wait(SOON)
    cancelled, changes = followed(store)
    with closing(changes):
        store.cancel(cancelled)
        assert changes.wait(SOON)


@pytest.mark.parametrize("lane", Lane)
def test_a_waiting_job_hears_when_its_place_moves(lane: Lane, store: JobStore) -> None:
    store.submit(submission())
    cancelled = store.submit(submission())
    _, changes = followed(store, lane)
    with closing(changes):
        store.cancel(cancelled)
        assert changes.wait(SOON)
        store.claim(1, claim_id="a")
        assert changes.wait(SOON)


def test_an_interactive_job_does_not_hear_of_bulk(store: JobStore) -> None:
    bulk = store.submit(submission(lane=Lane.BULK))
    _, changes = followed(store)
    with closing(changes):
        store.cancel(bulk)
        assert not changes.wait(NOTHING)


def test_what_is_said_together_counts_once(store: JobStore) -> None:
    others = [store.submit(submission()) for _ in range(20)]
    _, changes = followed(store)
    with closing(changes):
        for job_id in others:
            store.cancel(job_id)
        time.sleep(NOTHING)  # until the last of it has come
        assert changes.wait(SOON)
        assert not changes.wait(NOTHING)


def test_a_server_that_goes_away_is_named(store: JobStore, redis_server: subprocess.Popen[bytes]) -> None:
    job_id, changes = followed(store)
    job = store.get(job_id)
    redis_server.kill()
    redis_server.wait()
    with closing(changes), pytest.raises(StoreUnavailable, match="Redis does not answer"):
        changes.wait(SOON)
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        store.changes(job)
