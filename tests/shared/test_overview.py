"""What operators are told is what happened, whichever process did it."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from shared.jobs import Claim, JobError, Lane
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore, Role
from shared.store.overview import Distribution, observed
from tests.shared.submissions import RESULT, lose_lease, raw_client, submission


@pytest.fixture
def raw(settings: Settings) -> redis.Redis:
    return raw_client(settings)


def take(store: JobStore, most: int = 8) -> list[Claim]:
    return store.claim(most, claim_id=secrets.token_hex(8))


def test_an_empty_store_has_nothing_to_tell(store: JobStore) -> None:
    told = store.overview()
    assert (told.counts, told.tally, told.unaccounted, told.reaped_ms) == ({}, {}, 0, None)
    assert set(told.waiting.values()) == set(told.oldest_ms.values()) == {0}
    assert 0 < told.memory_used < told.memory_limit == Settings().redis_memory_bytes
    assert told.append_only and abs(told.now_ms - store.now_ms()) < 5000


def test_ends_are_told_by_lane_state_and_code(store: JobStore) -> None:
    for lane in (*[Lane.INTERACTIVE] * 3, Lane.BULK):
        store.submit(submission(lane=lane))
    good, late, bad = take(store)
    assert store.succeed(good, RESULT, compute_ms=700.0) and store.succeed(good, RESULT, compute_ms=700.0)
    assert store.fail(late, JobError("timeout", "too long"))
    assert store.fail(bad, JobError("timeout", "too long"))
    (waits,) = (job for job in store.newest()[0] if job.lane is Lane.BULK)
    store.cancel(waits.id)
    told = store.overview()
    assert told.totals("ended") == {
        ("interactive", "succeeded", ""): 1,
        ("interactive", "failed", "timeout"): 2,
        ("bulk", "cancelled", ""): 1,
    }
    assert told.distributions("compute") == {(): Distribution({10: 1}, 700)}
    assert told.totals("claimed") == {("interactive", "1"): 3}
    assert told.distributions("batch") == {("interactive",): Distribution({2: 1}, 3)}
    assert sum(told.distributions("wait")[("interactive",)].counts.values()) == 3
    assert sum(told.distributions("stay")[("bulk",)].counts.values()) == 1
    assert told.unaccounted == 0


def test_the_oldest_of_each_lane_tells_how_long_it_has_waited(store: JobStore, raw: redis.Redis) -> None:
    first, _ = (store.submit(submission()) for _ in range(2))
    raw.hincrby(f"{PREFIX}job:{first}", "created", -90_000)
    told = store.overview()
    assert (told.waiting[Lane.INTERACTIVE], told.waiting[Lane.BULK]) == (2, 0)
    assert 90_000 <= told.oldest_ms[Lane.INTERACTIVE] < 95_000 and told.oldest_ms[Lane.BULK] == 0


def test_answers_that_were_known_are_told(store: JobStore) -> None:
    store.submit(submission(answer="q"))
    (claim,) = take(store)
    store.succeed(claim, RESULT, compute_ms=1.0)
    store.submit(submission(answer="q"))
    assert store.overview().totals("cached") == {("interactive",): 1}


def test_lost_leases_and_jobs_given_back_are_told(store: JobStore, raw: redis.Redis) -> None:
    for _ in range(3):
        store.submit(submission())
    lost, shut, broke = take(store)
    lose_lease(raw, lost.id)
    before = store.now_ms()
    assert store.reap() == 1
    store.release(shut)
    store.release(broke, solo=True)
    told = store.overview()
    assert told.totals("leases_lost") == {(): 1}
    assert told.totals("released") == {("shutdown",): 1, ("trouble",): 1}
    assert told.reaped_ms is not None and before <= told.reaped_ms <= told.now_ms


def test_workers_keepers_and_senders_are_told_apart(store: JobStore) -> None:
    store.heartbeat("worker@a")
    store.heartbeat("worker@b")
    store.heartbeat("keeper@a", role=Role.KEEPER)
    for name in ("a", "b", "c"):
        store.heartbeat(f"sender@{name}", role=Role.SENDER)
    told = store.overview()
    assert (told.workers, told.keepers, told.senders) == (2, 1, 3)


def test_webhooks_that_nobody_sends_are_told(store: JobStore, raw: redis.Redis) -> None:
    job_id = store.submit(replace(submission(), webhook="http://127.0.0.1:9/"))
    assert store.overview().webhooks == 0
    store.cancel(job_id)
    raw.zincrby(f"{PREFIX}webhooks", -60_000, job_id)
    told = store.overview()
    assert told.webhooks == 1 and 60_000 <= told.webhooks_overdue_ms < 65_000


def test_a_job_that_is_in_no_state_is_told(store: JobStore, raw: redis.Redis) -> None:
    store.submit(submission())
    raw.hincrby(f"{PREFIX}counts", "queued", -1)
    assert store.overview().unaccounted == 1
    raw.hincrby(f"{PREFIX}counts", "queued", 1)


def test_figures_of_a_web_server_are_added_up(store: JobStore) -> None:
    for _ in range(2):  # the second time after a reply that was lost
        store.add({"http:api.get_job:GET:200": 2, **observed("answer:api.get_job", 3.2)}, operation="a")
    store.add({"http:api.get_job:GET:200": 1, **observed("answer:api.get_job", 5)}, operation="b")
    told = store.overview()
    assert told.totals("http") == {("api.get_job", "GET", "200"): 3}
    assert told.distributions("answer") == {("api.get_job",): Distribution({2: 1, 3: 1}, 8)}


@given(st.floats(0, 2**40))
def test_a_value_counts_under_the_smallest_power_of_two_that_is_not_below_it(value: float) -> None:
    place = next(int(name.rpartition(":")[2]) for name in observed("x", value) if not name.endswith("sum"))
    assert value <= 2**place and (place == 0 or value > 2 ** (place - 1))


def test_a_script_counts_a_value_where_a_process_does(store: JobStore) -> None:
    values = [0.0, 0.5, 1.0, 1.01, 2.0, 2.5, 4.0, 700.0, 1024.0, 1025.0, 2.0**31]
    expected: dict[str, int] = {}
    for value in values:
        for name, amount in observed("compute", value).items():
            expected[name] = expected.get(name, 0) + amount
        store.submit(submission())
        (claim,) = take(store, 1)
        store.succeed(claim, RESULT, compute_ms=value)
    told = {name: amount for name, amount in store.overview().tally.items() if name.startswith("compute:")}
    assert {name: amount for name, amount in told.items() if name != "compute:sum"} == {
        name: amount for name, amount in expected.items() if name != "compute:sum"
    }
    assert told["compute:sum"] == pytest.approx(expected["compute:sum"], abs=len(values))
