"""The schedule of webhooks: every end of a job is told, once its time has come, until it was heard or given up."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis

from cli import embedded
from shared.errors import StoreUnavailable
from shared.jobs import TERMINAL, JobError, JobStatus
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from shared.store.webhooks import Delivery
from tests.conftest import wait_for
from tests.shared.submissions import RESULT, collect, pass_deadline, raw_client, submission

ADDRESS = "https://example.org/hook?token=t0ps3cret"
MakeStore = Callable[..., JobStore]


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> redis.Redis:
    return raw_client(settings)


def submit(store: JobStore, *, answer: str = "", webhook: str = ADDRESS) -> str:
    return store.submit(replace(submission(answer=answer), webhook=webhook))


def ended(store: JobStore, *, answer: str = "") -> str:
    """A job that has succeeded, and whose address is to be told."""
    job_id = submit(store, answer=answer)
    (claim,) = store.claim(1, claim_id=secrets.token_hex(8))
    assert store.succeed(claim, RESULT, compute_ms=1.0)
    return job_id


def due(store: JobStore, *, claim_id: str = "") -> list[Delivery]:
    return store.webhooks.claim(10, claim_id=claim_id or secrets.token_hex(8))


def lose_lease(raw: redis.Redis, job_id: str) -> None:
    """As if the time of a claimed or waiting delivery had come."""
    assert raw.zadd(f"{PREFIX}webhooks", {job_id: 1}, xx=True, ch=True) == 1


@pytest.mark.parametrize("status", TERMINAL)
def test_every_end_of_a_job_is_told_and_nothing_before_it(status: JobStatus, store: JobStore, raw: redis.Redis) -> None:
    job_id = submit(store)
    if status is JobStatus.CANCELLED:
        assert not store.webhooks.due()
        store.cancel(job_id)
    elif status is JobStatus.EXPIRED:
        pass_deadline(raw, job_id)
        store.reap()
    else:
        (claim,) = store.claim(1, claim_id="c")
        assert not store.webhooks.due() and due(store) == []
        if status is JobStatus.SUCCEEDED:
            store.succeed(claim, RESULT, compute_ms=1.0)
        else:
            store.fail(claim, JobError("internal", "It broke."))
    assert store.get(job_id).status is status
    assert store.webhooks.due()
    assert due(store) == [Delivery(job_id, 1, ADDRESS)]


def test_an_answer_that_was_known_already_is_told_too(store: JobStore) -> None:
    first = ended(store, answer="q")
    second = submit(store, answer="q")
    assert store.get(second).cached
    assert {delivery.job_id for delivery in due(store)} == {first, second}


def test_a_job_without_an_address_is_on_no_schedule(store: JobStore) -> None:
    submit(store, webhook="")
    (claim,) = store.claim(1, claim_id="c")
    store.succeed(claim, RESULT, compute_ms=1.0)
    assert not store.webhooks.due() and due(store) == []


def test_a_claimed_delivery_is_nobody_elses_until_its_lease_has_run_out(store: JobStore, raw: redis.Redis) -> None:
    job_id = ended(store)
    first = due(store, claim_id="c")
    assert due(store, claim_id="c") == first, "the same claim, sent again"
    assert due(store) == [] and not store.webhooks.due()
    lose_lease(raw, job_id)
    assert due(store) == [Delivery(job_id, 2, ADDRESS)]


def test_what_was_heard_is_told_no_more(store: JobStore, raw: redis.Redis) -> None:
    ended(store)
    (delivery,) = due(store)
    store.webhooks.done(delivery)
    store.webhooks.again(delivery, seconds=0)  # a word that comes late
    assert raw.zcard(f"{PREFIX}webhooks") == 0


def test_what_was_not_heard_waits_for_its_next_attempt(store: JobStore, raw: redis.Redis) -> None:
    job_id = ended(store)
    (delivery,) = due(store)
    store.webhooks.again(delivery, seconds=600)
    at = raw.zscore(f"{PREFIX}webhooks", job_id)
    assert at == pytest.approx(store.now_ms() + 600_000, abs=5_000)
    assert due(store) == []
    store.webhooks.again(delivery, seconds=0)
    assert [one.attempt for one in due(store)] == [2]


def test_a_sender_that_comes_late_changes_nothing_of_a_newer_attempt(store: JobStore, raw: redis.Redis) -> None:
    job_id = ended(store)
    (old,) = due(store)
    lose_lease(raw, job_id)
    (new,) = due(store)
    store.webhooks.again(old, seconds=0)
    store.webhooks.done(old)
    assert not store.webhooks.due() and raw.zcard(f"{PREFIX}webhooks") == 1
    store.webhooks.done(new)
    assert raw.zcard(f"{PREFIX}webhooks") == 0


def test_an_attempt_that_nobody_settles_is_given_up_after_the_last(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(webhook_attempts=2)
    job_id = ended(store)
    for attempt in (1, 2):
        assert [one.attempt for one in due(store)] == [attempt]
        lose_lease(raw, job_id)
    assert due(store) == [] and raw.zcard(f"{PREFIX}webhooks") == 0


def test_a_forgotten_job_is_told_to_nobody(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(retention_seconds=0)
    job_id = ended(store)
    (delivery,) = due(store)
    wait_for(lambda: collect(store) == [job_id], seconds=5)
    store.webhooks.again(delivery, seconds=0)
    assert raw.zcard(f"{PREFIX}webhooks") == 0


def test_the_schedule_outlives_a_killed_server(
    settings: Settings, store: JobStore, redis_server: subprocess.Popen[bytes]
) -> None:
    job_id = ended(store)
    redis_server.kill()
    redis_server.wait()
    again = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _has_come_back(store), seconds=10)
        assert due(store) == [Delivery(job_id, 1, ADDRESS)]
    finally:
        again.kill()
        again.wait()


def test_no_record_shows_the_address(store: JobStore) -> None:
    job_id = ended(store)
    given = replace(submission(), webhook=ADDRESS)
    assert "t0ps3cret" not in f"{given} {store.get(job_id)} {due(store)}"


def _has_come_back(store: JobStore) -> bool:
    try:
        return store.webhooks.due()
    except StoreUnavailable:
        return False
