"""The promises of the job store, each on a real Redis."""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cli import embedded
from shared.broker import make_celery
from shared.errors import JobConflict, QueueFull, StoreUnavailable, UnknownJob
from shared.jobs import TERMINAL, Claim, ImageRecord, Job, JobError, JobOptions, JobProgress, JobStatus, Lane
from shared.settings import Settings
from shared.store.job_store import PREFIX, End, JobStore, Lease, Role, Submission
from tests.conftest import wait_for
from tests.shared.submissions import (
    IMAGE,
    RESULT,
    assert_counts_add_up,
    collect,
    lose_lease,
    pass_deadline,
    raw_client,
    submission,
)

MakeStore = Callable[..., JobStore]
ERROR = JobError("internal", "It broke.")


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    """As everywhere, but a test may give its server other settings, and `folder` as the name of the home."""
    changes = dict(getattr(request, "param", {}))
    return Settings(home=tmp_path / changes.pop("folder", "home"), **changes)


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


@pytest.fixture(autouse=True)
def counts_add_up(store: JobStore) -> Iterator[None]:
    """After every test here the counts hold, where there is still a server to ask."""
    yield
    try:
        store.ping()
    except StoreUnavailable:
        return
    assert_counts_add_up(store)


def take(store: JobStore, most: int = 1) -> list[Claim]:
    return store.claim(most, claim_id=secrets.token_hex(8))


def take_one(store: JobStore) -> Claim:
    (claim,) = take(store)
    return claim


def ids(claims: list[Claim]) -> list[str]:
    return [claim.id for claim in claims]


def finished_as(status: JobStatus, store: JobStore, raw: redis.Redis) -> Claim:
    """A job brought to this end, and the claim it had been running under."""
    job_id = store.submit(submission())
    claim = take_one(store)
    if status is JobStatus.SUCCEEDED:
        assert store.succeed(claim, RESULT, compute_ms=5.0)
    elif status is JobStatus.FAILED:
        assert store.fail(claim, ERROR)
    elif status is JobStatus.CANCELLED:
        store.cancel(job_id)
        assert store.stop(claim, JobStatus.CANCELLED)
    else:
        pass_deadline(raw, job_id)
        lose_lease(raw, job_id)
        assert store.reap() == 1
    assert store.get(job_id).status is status
    return claim


# -- submit --------------------------------------------------------------------------------------------------------


def test_a_submitted_job_waits_and_reads_back_as_it_was_given(store: JobStore) -> None:
    options = JobOptions(("a", "b"), ("cam",), "tabby, tabby cat", "7", "soft", "basic")
    image = ImageRecord(IMAGE, 451, 300, "WEBP", "Kätzchen \u2028\U0001f431.webp")
    before = store.now_ms()
    job = store.get(store.submit(Submission(options, image, Lane.BULK, answer_key="q")))
    assert (job.status, job.lane, job.options, job.image) == (JobStatus.QUEUED, Lane.BULK, options, image)
    assert before <= job.created_ms <= store.now_ms()
    assert (job.started_ms, job.finished_ms, job.attempts, job.cached) == (None, None, 0, False)
    assert (job.result_ref, job.error, job.progress) == (None, None, None)


def test_the_same_key_and_body_give_the_same_job_in_every_state_of_it(store: JobStore, raw: redis.Redis) -> None:
    first = store.submit(submission(key="k", body="one"))
    assert store.submit(submission(key="k", body="one")) == first
    claim = take_one(store)
    assert store.submit(submission(key="k", body="one")) == first
    store.fail(claim, ERROR)
    assert store.submit(submission(key="k", body="one")) == first
    assert store.counts()["accepted"] == 1


def test_a_job_is_stored_and_seen_in_one_round_trip_as_it_would_be_in_two(store: JobStore, raw: redis.Redis) -> None:
    store.submit(submission())
    job = store.submit_and_get(submission(key="k", body="one"), viewer=None)
    assert job == store.get(job.id)
    assert (job.status, job.position) == (JobStatus.QUEUED, 2)
    assert store.submit_and_get(submission(key="k", body="one"), viewer=None) == job
    with pytest.raises(JobConflict):
        store.submit_and_get(submission(key="k", body="two"), viewer=None)
    with pytest.raises(UnknownJob):
        store.submit_and_get(submission(), viewer="somebody else")
    sent = int(raw.info("stats")["total_reads_processed"])
    store.submit_and_get(submission(), viewer=None)
    assert int(raw.info("stats")["total_reads_processed"]) - sent == 2  # the second is the look at the count


def test_the_same_key_with_another_body_is_a_conflict_and_stores_nothing(store: JobStore) -> None:
    store.submit(submission(key="k", body="one"))
    with pytest.raises(JobConflict, match="Idempotency-Key was used before with another request body"):
        store.submit(submission(key="k", body="two"))
    assert store.counts() == {"accepted": 1, "queued": 1}
    assert store.waiting(Lane.INTERACTIVE) == 1


def test_a_key_is_its_owners_alone(store: JobStore) -> None:
    mine = store.submit(submission(key="k", body="one", owner="me"))
    assert store.submit(submission(key="k", body="two", owner="you")) != mine


def test_without_a_key_every_submission_is_a_job_of_its_own(store: JobStore) -> None:
    assert len({store.submit(submission(body="one")) for _ in range(5)}) == 5


def test_a_hundred_parallel_submissions_with_one_key_are_one_job(store: JobStore) -> None:
    together = threading.Barrier(100)

    def submit(_: int) -> str:
        together.wait(timeout=30)
        return store.submit(submission(key="k", body="one"))

    with ThreadPoolExecutor(100) as pool:
        assert len(set(pool.map(submit, range(100)))) == 1
    assert store.counts() == {"accepted": 1, "queued": 1}


def test_a_submission_whose_answer_was_lost_is_stored_once_when_sent_again(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: "same-id")
    assert store.submit(submission()) == store.submit(submission()) == "same-id"
    assert store.counts() == {"accepted": 1, "queued": 1}
    assert store.waiting(Lane.INTERACTIVE) == 1


def test_past_the_limit_nothing_more_is_accepted_until_there_is_room(make_store: MakeStore) -> None:
    store = make_store(queue_limit=2)
    first = store.submit(submission(key="k", body="one"))
    store.submit(submission())
    with pytest.raises(QueueFull, match="2 jobs are waiting already"):
        store.submit(submission())
    assert store.submit(submission(key="k", body="one")) == first, "a known job is no new one"
    assert store.counts() == {"accepted": 2, "queued": 2}
    take(store)
    store.submit(submission())


# -- claim ---------------------------------------------------------------------------------------------------------


def test_jobs_are_claimed_in_the_order_they_came_with_all_that_a_worker_needs(store: JobStore) -> None:
    jobs = [store.submit(submission(filename=f"{i}.png")) for i in range(5)]
    claims = take(store, 3)
    assert ids(claims) == jobs[:3]
    for claim in claims:
        job = store.get(claim.id)
        assert (claim.options, claim.image, claim.created_ms) == (job.options, job.image, job.created_ms)
        assert (claim.attempt, claim.solo) == (1, False)
        assert (job.status, job.attempts) == (JobStatus.RUNNING, 1)
        assert job.started_ms is not None and job.started_ms >= job.created_ms
    assert ids(take(store, 3)) == jobs[3:]
    assert take(store, 3) == []


def test_a_claim_sent_again_gives_the_same_jobs_and_charges_nothing(store: JobStore) -> None:
    jobs = [store.submit(submission()) for _ in range(3)]
    claims = store.claim(2, claim_id="c")
    assert store.claim(2, claim_id="c") == claims
    assert [store.get(job_id).attempts for job_id in jobs] == [1, 1, 0]
    assert ids(store.claim(2, claim_id="d")) == jobs[2:]


def test_interactive_jobs_are_claimed_first_and_alone(store: JobStore) -> None:
    bulk = [store.submit(submission(lane=Lane.BULK)) for _ in range(3)]
    interactive = [store.submit(submission()) for _ in range(2)]
    assert ids(take(store, 4)) == interactive
    assert ids(take(store, 4)) == bulk


def test_bulk_does_not_starve_behind_a_lane_that_never_empties(store: JobStore) -> None:
    bulk = [store.submit(submission(lane=Lane.BULK)) for _ in range(3)]
    order = []
    for _ in range(24):
        store.submit(submission())
        store.submit(submission())
        order.append(take_one(store).id)
    assert [job_id for job_id in order if job_id in bulk] == bulk
    assert not set(order[:7]) & set(bulk), "most claims look into the interactive lane first"


# -- leases, fences, attempts ----------------------------------------------------------------------------------------


def test_renewing_prolongs_the_lease(make_store: MakeStore) -> None:
    short, long = make_store(lease_seconds=0.05), make_store(lease_seconds=30)
    short.submit(submission())
    claim = take_one(short)
    assert long.renew([claim]) == {claim.id: Lease.HELD}
    time.sleep(0.1)
    assert long.reap() == 0
    assert long.get(claim.id).status is JobStatus.RUNNING


def test_a_lease_runs_out_by_the_servers_clock(make_store: MakeStore) -> None:
    store = make_store(lease_seconds=0.05)
    store.submit(submission())
    claim = take_one(store)
    time.sleep(0.1)
    assert store.reap() == 1
    assert store.get(claim.id).status is JobStatus.QUEUED


def test_renewing_tells_each_job_of_a_batch_its_own_fate(store: JobStore, raw: redis.Redis) -> None:
    for _ in range(5):
        store.submit(submission())
    claims = held, cancelled, late, lost, ended = take(store, 5)
    store.cancel(cancelled.id)
    pass_deadline(raw, late.id)
    lose_lease(raw, lost.id)
    store.reap()
    store.fail(ended, ERROR)
    assert store.renew(claims) == {
        held.id: Lease.HELD,
        cancelled.id: Lease.CANCELLED,
        late.id: Lease.PAST_DEADLINE,
        lost.id: Lease.LOST,
        ended.id: Lease.LOST,
    }
    assert store.renew([]) == {}


def test_a_late_finish_of_an_old_claim_changes_nothing(store: JobStore, raw: redis.Redis) -> None:
    job_id = store.submit(submission(answer="q"))
    old = take_one(store)
    lose_lease(raw, job_id)
    store.reap()

    def late_finishes() -> list[bool]:
        return [
            store.succeed(old, RESULT, compute_ms=1.0),
            store.fail(old, ERROR),
            store.stop(old, JobStatus.CANCELLED),
            store.release(old),
        ]

    waiting = store.get(job_id)
    assert late_finishes() == [False] * 4
    assert store.get(job_id) == waiting
    new = take_one(store)
    running = store.get(job_id)
    assert late_finishes() == [False] * 4
    assert store.get(job_id) == running
    assert store.renew([old]) == {job_id: Lease.LOST}
    assert store.succeed(new, "c" * 64, compute_ms=1.0)
    ended = store.get(job_id)
    assert late_finishes() == [False] * 4
    assert store.get(job_id) == ended
    assert (ended.status, ended.result_ref, ended.attempts) == (JobStatus.SUCCEEDED, "c" * 64, 2)
    assert store.referenced([RESULT]) == set()


def test_a_lost_batch_returns_to_the_queue_and_each_member_runs_alone(store: JobStore, raw: redis.Redis) -> None:
    batch = [store.submit(submission()) for _ in range(3)]
    for claim in take(store, 3):
        lose_lease(raw, claim.id)
    fresh = [store.submit(submission()) for _ in range(2)]
    assert store.reap() == 3
    assert store.reap() == 0
    assert all(store.get(job_id).status is JobStatus.QUEUED for job_id in batch)
    assert all(store.get(job_id).started_ms is None for job_id in batch)
    assert store.overview().totals("leases_lost") == {(): 3}
    for job_id in batch:
        (claim,) = take(store, 8)
        assert (claim.id, claim.attempt, claim.solo) == (job_id, 2, True)
    assert ids(take(store, 8)) == fresh


def test_a_job_that_must_run_alone_ends_the_batch_before_it(store: JobStore) -> None:
    jobs = [store.submit(submission()) for _ in range(4)]
    claims = take(store, 4)
    for claim in claims:
        store.release(claim, solo=claim.id == jobs[2])
    assert ids(take(store, 4)) == jobs[:2]
    assert ids(take(store, 4)) == [jobs[2]]
    assert ids(take(store, 4)) == [jobs[3]]


def test_only_so_many_workers_may_die_of_one_job(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(max_attempts=3)
    job_id = store.submit(submission())
    for attempt in (1, 2, 3):
        assert take_one(store).attempt == attempt
        lose_lease(raw, job_id)
        assert store.reap() == 1
    job = store.get(job_id)
    assert (job.status, job.attempts) == (JobStatus.FAILED, 3)
    assert job.error is not None and job.error.code == "worker_lost"
    assert take(store) == []


def test_a_job_given_back_too_often_at_its_own_charge_fails_when_claimed(make_store: MakeStore) -> None:
    store = make_store(max_attempts=2)
    job_id = store.submit(submission())
    for _ in range(2):
        assert store.release(take_one(store), charge=True)
    other = store.submit(submission())
    assert take_one(store).id == other
    job = store.get(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None and job.error.code == "worker_lost"


def test_reaping_leaves_alone_whoever_holds_a_lease(store: JobStore) -> None:
    job_id = store.submit(submission())
    waiting = store.submit(submission())
    claim = take_one(store)
    assert store.reap() == 0
    assert store.get(job_id).status is JobStatus.RUNNING
    assert store.get(waiting).status is JobStatus.QUEUED
    assert store.succeed(claim, RESULT, compute_ms=1.0)


# -- ends ------------------------------------------------------------------------------------------------------------


def test_a_finished_job_shows_its_result_or_its_error(store: JobStore) -> None:
    for _ in range(2):
        store.submit(submission())
    good, bad = take(store, 2)
    assert store.succeed(good, RESULT, compute_ms=5.0)
    assert store.fail(bad, ERROR)
    succeeded, failed = store.get(good.id), store.get(bad.id)
    assert (succeeded.status, succeeded.result_ref, succeeded.error) == (JobStatus.SUCCEEDED, RESULT, None)
    assert (failed.status, failed.result_ref, failed.error) == (JobStatus.FAILED, None, ERROR)
    for job in (succeeded, failed):
        assert job.started_ms is not None and job.finished_ms is not None
        assert job.created_ms <= job.started_ms <= job.finished_ms
        assert job.position is None


def test_a_finish_sent_again_is_confirmed_and_counts_once(store: JobStore) -> None:
    store.submit(submission())
    claim = take_one(store)
    assert store.succeed(claim, RESULT, compute_ms=5.0)
    before = store.get(claim.id)
    assert store.succeed(claim, RESULT, compute_ms=5.0)
    assert not store.fail(claim, ERROR)
    assert store.get(claim.id) == before
    assert store.counts() == {"accepted": 1, "queued": 0, "running": 0, "succeeded": 1}


@pytest.mark.parametrize("status", TERMINAL)
def test_nothing_moves_a_job_that_has_ended(status: JobStatus, store: JobStore, raw: redis.Redis) -> None:
    claim = finished_as(status, store, raw)
    before = store.get(claim.id)
    newest = replace(claim, fence=int(str(raw.hget(f"{PREFIX}job:{claim.id}", "fence"))))
    for each in (claim, newest):
        if status is not JobStatus.SUCCEEDED:
            assert not store.succeed(each, RESULT, compute_ms=1.0)
        if status is not JobStatus.FAILED:
            assert not store.fail(each, ERROR)
        assert not store.release(each)
        assert store.renew([each]) == {claim.id: Lease.LOST}
    with pytest.raises(JobConflict, match="the job has ended already"):
        store.cancel(claim.id)
    raw.zadd(f"{PREFIX}running", {claim.id: 1}, xx=True)
    assert store.reap() == 0
    assert take(store) == []
    assert store.get(claim.id) == before
    assert store.counts()[status] == 1


def test_progress_is_seen_while_a_job_runs_and_gone_when_it_ends(store: JobStore) -> None:
    store.submit(submission())
    claim = take_one(store)
    assert store.report([claim], done=1, total=4, stage="rise") == {claim.id: Lease.HELD}
    assert store.get(claim.id).progress == JobProgress(1, 4, "rise")
    store.fail(claim, ERROR)
    assert store.get(claim.id).progress is None
    assert store.report([claim], done=2, total=4, stage="rise") == {claim.id: Lease.LOST}
    assert store.get(claim.id).progress is None


def test_reporting_progress_keeps_the_lease_and_tells_of_a_cancelled_job(make_store: Callable[..., JobStore]) -> None:
    store = make_store(lease_seconds=0.2)
    store.submit(submission())
    claim = take_one(store)
    for done in range(6):
        time.sleep(0.05)
        assert store.report([claim], done=done, total=6, stage="rise") == {claim.id: Lease.HELD}
    assert store.reap() == 0
    store.cancel(claim.id)
    assert store.report([claim], done=6, total=6, stage="rise") == {claim.id: Lease.CANCELLED}


def test_a_long_job_is_claimed_alone_and_the_others_keep_their_order(store: JobStore) -> None:
    jobs = [store.submit(replace(submission(), solo=number == 1)) for number in range(4)]
    assert [[claim.id for claim in take(store, 8)] for _ in range(3)] == [jobs[:1], jobs[1:2], jobs[2:]]


# -- release ---------------------------------------------------------------------------------------------------------


def test_releasing_charges_nothing_and_keeps_the_place_in_the_queue(store: JobStore) -> None:
    first, second = store.submit(submission()), store.submit(submission())
    claim = take_one(store)
    assert store.release(claim)
    job = store.get(first)
    assert (job.status, job.attempts, job.started_ms, job.position) == (JobStatus.QUEUED, 0, None, 1)
    again = take(store, 2)
    assert ids(again) == [first, second]
    assert again[0].attempt == 1 and not again[0].solo
    assert again[0].fence > claim.fence


def test_releasing_twice_gives_the_job_back_once(store: JobStore) -> None:
    store.submit(submission())
    claim = take_one(store)
    assert store.release(claim)
    assert not store.release(claim)
    assert store.get(claim.id).attempts == 0


def test_a_released_job_that_was_to_be_cancelled_ends_instead_of_waiting_again(store: JobStore) -> None:
    job_id = store.submit(submission())
    claim = take_one(store)
    store.cancel(job_id)
    assert store.release(claim)
    assert store.get(job_id).status is JobStatus.CANCELLED
    assert take(store) == []


# -- cancel ----------------------------------------------------------------------------------------------------------


def test_a_waiting_job_is_cancelled_at_once_and_never_claimed(store: JobStore) -> None:
    gone, other = store.submit(submission()), store.submit(submission())
    store.cancel(gone)
    job = store.get(gone)
    assert (job.status, job.attempts) == (JobStatus.CANCELLED, 0)
    assert job.finished_ms is not None
    assert ids(take(store, 2)) == [other]


def test_a_running_job_is_flagged_and_its_worker_hears_of_it_at_the_next_renewal(store: JobStore) -> None:
    job_id = store.submit(submission())
    claim = take_one(store)
    store.cancel(job_id)
    store.cancel(job_id)
    assert store.get(job_id).status is JobStatus.RUNNING
    assert store.renew([claim]) == {job_id: Lease.CANCELLED}
    assert store.stop(claim, JobStatus.CANCELLED)
    assert store.get(job_id).status is JobStatus.CANCELLED


def test_between_cancel_and_finish_the_first_finish_wins(store: JobStore) -> None:
    job_id = store.submit(submission())
    claim = take_one(store)
    store.cancel(job_id)
    assert store.succeed(claim, RESULT, compute_ms=1.0)
    assert not store.stop(claim, JobStatus.CANCELLED)
    assert store.get(job_id).status is JobStatus.SUCCEEDED


def test_a_job_to_be_cancelled_whose_worker_died_is_cancelled_not_repeated(store: JobStore, raw: redis.Redis) -> None:
    job_id = store.submit(submission())
    take(store)
    store.cancel(job_id)
    lose_lease(raw, job_id)
    assert store.reap() == 1
    assert store.get(job_id).status is JobStatus.CANCELLED


def test_a_cancel_whose_answer_was_lost_may_be_sent_again(store: JobStore) -> None:
    job_id = store.submit(submission())
    store.cancel(job_id, operation="same-call")
    store.cancel(job_id, operation="same-call")
    with pytest.raises(JobConflict):
        store.cancel(job_id)
    assert store.get(job_id).status is JobStatus.CANCELLED


def test_an_unknown_job_can_be_neither_read_nor_cancelled(store: JobStore) -> None:
    with pytest.raises(UnknownJob, match="there is no job with this id"):
        store.cancel("no-such-job")
    with pytest.raises(UnknownJob, match="there is no job with this id"):
        store.get("no-such-job")
    assert store.counts() == {}


# -- deadlines -------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_past_its_deadline_expires(make_store: MakeStore) -> None:
    store = make_store(deadline_seconds=0.01)
    job_id = store.submit(submission())
    time.sleep(0.05)
    assert store.reap() == 1
    assert store.get(job_id).status is JobStatus.EXPIRED
    assert store.waiting(Lane.INTERACTIVE) == 0


def test_a_claim_passes_over_jobs_that_are_too_late(store: JobStore, raw: redis.Redis) -> None:
    late, other = store.submit(submission()), store.submit(submission())
    pass_deadline(raw, late)
    assert ids(take(store, 2)) == [other]
    job = store.get(late)
    assert (job.status, job.attempts) == (JobStatus.EXPIRED, 0)


def test_a_running_job_past_its_deadline_is_not_given_to_another_worker(store: JobStore, raw: redis.Redis) -> None:
    job_id = store.submit(submission())
    claim = take_one(store)
    pass_deadline(raw, job_id)
    assert store.reap() == 0, "its worker still holds the lease and will hear of it"
    assert store.renew([claim]) == {job_id: Lease.PAST_DEADLINE}
    lose_lease(raw, job_id)
    assert store.reap() == 1
    assert store.get(job_id).status is JobStatus.EXPIRED


# -- answers already known -------------------------------------------------------------------------------------------


def answered(store: JobStore, answer: str, ref: str = RESULT, owner: str = "") -> str:
    job_id = store.submit(submission(answer=answer, owner=owner))
    assert store.succeed(take_one(store), ref, compute_ms=5.0)
    return job_id


def test_a_question_answered_before_succeeds_at_once(make_store: MakeStore) -> None:
    store = make_store(queue_limit=1)
    answered(store, "q")
    store.submit(submission())  # fills the lane
    job = store.get(store.submit(submission(answer="q")))
    assert (job.status, job.cached, job.result_ref, job.attempts) == (JobStatus.SUCCEEDED, True, RESULT, 0)
    assert job.created_ms == job.started_ms == job.finished_ms
    assert store.waiting(Lane.INTERACTIVE) == 1


def test_other_questions_other_owners_and_failures_are_not_answered_from_memory(store: JobStore) -> None:
    answered(store, "q", owner="me")
    assert not store.get(store.submit(submission(answer="other", owner="me"))).cached
    assert store.get(store.submit(submission(answer="q", owner="me"))).cached
    assert not store.get(store.submit(submission(answer="q", owner="you"))).cached
    assert not store.get(store.submit(submission(owner="me"))).cached
    for claim in take(store, 3):
        store.fail(claim, ERROR)
    assert not store.get(store.submit(submission(answer="other", owner="me"))).cached


def test_an_answer_lives_as_long_as_a_job_that_names_it(make_store: MakeStore) -> None:
    keeping, forgetting = make_store(), make_store(retention_seconds=0)
    answered(forgetting, "q")
    cached = keeping.submit(submission(answer="q"))
    collect(forgetting)
    assert keeping.get(cached).cached
    last = forgetting.submit(submission(answer="q"))
    assert forgetting.get(last).cached
    assert collect(forgetting) == [last]
    assert keeping.get(keeping.submit(submission(answer="q"))).cached


def test_an_answer_is_forgotten_with_the_last_job_that_names_it(make_store: MakeStore) -> None:
    store = make_store(retention_seconds=0)
    answered(store, "q")
    collect(store)
    job = store.get(store.submit(submission(answer="q")))
    assert (job.status, job.cached) == (JobStatus.QUEUED, False)


def test_a_newer_answer_is_not_forgotten_with_an_older_one(make_store: MakeStore) -> None:
    keeping, forgetting = make_store(), make_store(retention_seconds=0)
    for _ in range(2):
        keeping.submit(submission(answer="q"))
    older, newer = take(keeping, 2)
    forgetting.succeed(older, RESULT, compute_ms=1.0)
    keeping.succeed(newer, "c" * 64, compute_ms=1.0)
    assert collect(forgetting) == [older.id]
    assert keeping.get(keeping.submit(submission(answer="q"))).result_ref == "c" * 64


# -- collect ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_job_is_forgotten_after_its_retention_and_leaves_a_tombstone(
    status: JobStatus, make_store: MakeStore, raw: redis.Redis
) -> None:
    store = make_store(retention_seconds=0)
    claim = finished_as(status, store, raw)
    assert not store.is_collected(claim.id)
    assert collect(store) == [claim.id]
    assert collect(store) == []
    with pytest.raises(UnknownJob):
        store.get(claim.id)
    assert store.is_collected(claim.id)
    assert not store.is_collected("no-such-job")
    counts = store.counts()
    assert (counts["accepted"], counts["collected"], counts[status]) == (1, 1, 0)
    assert not store.succeed(claim, RESULT, compute_ms=1.0)
    left = {str(key).removeprefix(PREFIX).split(":")[0] for key in raw.keys("*")}
    bounded = {"counts", "sequence", "passed_over", "pace", "tally", "reached", "turns", "user", "single"}
    assert left <= {"tombstone", "claim", *bounded}, left


def test_nothing_is_forgotten_before_its_retention_or_before_it_ends(store: JobStore, raw: redis.Redis) -> None:
    ended = finished_as(JobStatus.SUCCEEDED, store, raw).id
    running, waiting = store.submit(submission()), store.submit(submission())
    take(store)
    assert collect(store) == []
    assert [store.get(job_id).status.value for job_id in (ended, running, waiting)] == [
        "succeeded",
        "running",
        "queued",
    ]


def test_a_tombstone_does_not_stand_for_ever(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(retention_seconds=0, tombstone_seconds=0.05)
    claim = finished_as(JobStatus.FAILED, store, raw)
    collect(store)
    wait_for(lambda: not store.is_collected(claim.id), seconds=5)


def test_collecting_takes_as_many_as_it_is_told(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(retention_seconds=0)
    for _ in range(5):
        finished_as(JobStatus.FAILED, store, raw)
    assert [len(collect(store, most=2)) for _ in range(4)] == [2, 2, 1, 0]


def test_a_blob_is_named_until_the_last_job_that_names_it_is_forgotten(make_store: MakeStore) -> None:
    keeping, forgetting = make_store(), make_store(retention_seconds=0)
    other = "d" * 64
    for image in (IMAGE, IMAGE, other):
        keeping.submit(submission(image=image))
    first, second, third = take(keeping, 3)
    assert keeping.referenced([IMAGE, other, RESULT]) == {IMAGE, other}
    forgetting.succeed(first, RESULT, compute_ms=1.0)
    time.sleep(0.002)  # jobs that ended in the same millisecond are forgotten in any order
    forgetting.succeed(third, RESULT, compute_ms=1.0)
    assert keeping.referenced([IMAGE, other, RESULT]) == {IMAGE, other, RESULT}
    assert collect(forgetting, most=1) == [first.id]
    assert keeping.referenced([IMAGE, other, RESULT]) == {IMAGE, other, RESULT}
    assert collect(forgetting) == [third.id]
    assert keeping.referenced([IMAGE, other, RESULT]) == {IMAGE}
    forgetting.fail(second, ERROR)
    collect(forgetting)
    assert keeping.referenced([IMAGE, other, RESULT]) == set()
    assert keeping.referenced([]) == set()


def test_an_idempotency_key_is_free_again_when_its_job_is_forgotten(make_store: MakeStore) -> None:
    store = make_store(retention_seconds=0)
    first = store.submit(submission(key="k", body="one"))
    store.cancel(first)
    assert store.submit(submission(key="k", body="one")) == first
    collect(store)
    assert store.submit(submission(key="k", body="two")) != first


# -- counts, position ------------------------------------------------------------------------------------------------


def test_the_counts_add_up_at_every_moment_of_a_busy_hour(make_store: MakeStore, raw: redis.Redis) -> None:
    store = make_store(retention_seconds=0, queue_limit=20)
    done = threading.Event()

    def work(seed: int) -> int:
        dice, steps, held, known = random.Random(seed), 0, list[Claim](), list[str]()
        for _ in range(120):
            steps += 1
            try:
                match dice.randrange(6):
                    case 0 | 1:
                        known.append(store.submit(submission(answer=dice.choice(["", "q"]))))
                    case 2:
                        held += take(store, 3)
                    case 3 if held:
                        store.succeed(held.pop(), RESULT, compute_ms=1.0)
                    case 4 if known:
                        store.cancel(dice.choice(known))
                    case _:
                        for claim in held[:1]:
                            raw.zadd(f"{PREFIX}running", {claim.id: 1}, xx=True)
                        store.reap()
                        collect(store, most=3)
            except (JobConflict, UnknownJob, QueueFull):
                pass
        return steps

    def watch() -> int:
        looks = 0
        while not done.is_set():
            assert_counts_add_up(store)
            looks += 1
        return looks

    with ThreadPoolExecutor(5) as pool:
        watching = pool.submit(watch)
        workers = [pool.submit(work, seed) for seed in range(4)]
        assert sum(worker.result() for worker in workers) == 480
        done.set()
        assert watching.result() > 10
    counts = store.counts()
    assert counts["collected"] > 0 and store.overview().tally["leases_lost"] > 0, counts


def test_a_waiting_job_knows_how_many_are_before_it_and_how_long_they_take(store: JobStore) -> None:
    store.submit(submission())
    assert store.succeed(take_one(store), RESULT, compute_ms=40.0)  # the first measurement is the pace
    jobs = [store.submit(submission(lane=lane)) for lane in (Lane.BULK, *[Lane.INTERACTIVE] * 3)]
    seen = [store.get(job_id) for job_id in jobs]
    assert [job.position for job in seen] == [4, 1, 2, 3]
    assert [job.eta_seconds for job in seen] == [0.16, 0.04, 0.08, 0.12]
    claim = take_one(store)
    assert store.get(claim.id).position is None and store.get(claim.id).eta_seconds is None
    assert [store.get(job_id).position for job_id in (jobs[0], jobs[2], jobs[3])] == [3, 1, 2]
    store.succeed(claim, RESULT, compute_ms=140.0)
    assert store.get(jobs[2]).eta_seconds == 0.05, "the pace follows slowly"


# -- workers ---------------------------------------------------------------------------------------------------------


def test_workers_are_heard_until_they_leave_or_fall_silent(make_store: MakeStore) -> None:
    store = make_store(heartbeat_seconds=30)
    assert store.workers_heard() == 0
    store.heartbeat("a")
    store.heartbeat("b")
    store.heartbeat("b")
    assert store.workers_heard() == 2
    store.leave("a")
    assert store.workers_heard() == 1
    impatient = make_store(heartbeat_seconds=0.05)
    wait_for(lambda: impatient.workers_heard() == 0, seconds=5)


def test_a_keeper_is_heard_but_counts_for_no_worker(make_store: MakeStore) -> None:
    store = make_store(heartbeat_seconds=30)
    assert not store.heard("keeper") and not store.heard("worker")
    store.heartbeat("keeper", role=Role.KEEPER)
    store.heartbeat("worker")
    assert store.heard("keeper") and store.heard("worker")
    assert not store.heard("stranger")
    assert store.workers_heard() == 1
    impatient = make_store(heartbeat_seconds=0.05)
    wait_for(lambda: not impatient.heard("keeper") and not impatient.heard("worker"), seconds=5)
    for name in ("keeper", "worker"):
        store.leave(name)
        assert not store.heard(name)


# -- the server ------------------------------------------------------------------------------------------------------


def calls(store: JobStore) -> list[Callable[[], object]]:
    claim = Claim("x", 1, 1, JobOptions(("m",)), ImageRecord(IMAGE, 1, 1, "PNG", "a"), 0)
    return [
        lambda: store.submit(submission()),
        lambda: store.submit_and_get(submission(), viewer=None),
        lambda: take(store),
        lambda: store.renew([claim]),
        lambda: store.succeed(claim, RESULT, compute_ms=1.0),
        lambda: store.fail(claim, ERROR),
        lambda: store.finish_and_claim([End(claim, JobStatus.SUCCEEDED)], 1, claim_id="c"),
        lambda: store.release(claim),
        lambda: store.report([claim], done=1, total=2, stage="cam"),
        lambda: store.cancel("x"),
        lambda: store.get("x"),
        lambda: store.is_collected("x"),
        store.reap,
        lambda: collect(store),
        lambda: store.referenced([IMAGE]),
        lambda: store.waiting(Lane.BULK),
        store.counts,
        store.overview,
        lambda: store.add({"http": 1}, operation="a"),
        store.now_ms,
        store.ping,
        store.server_info,
        lambda: store.heartbeat("w"),
        lambda: store.leave("w"),
        lambda: store.heard("w"),
        store.workers_heard,
    ]


def test_without_a_server_every_call_says_so_soon(store: JobStore, redis_server: subprocess.Popen[bytes]) -> None:
    redis_server.kill()
    redis_server.wait()
    began = time.monotonic()
    for call in calls(store):
        with pytest.raises(StoreUnavailable, match="Redis does not answer"):
            call()
    assert time.monotonic() - began < 10


def test_a_server_that_hangs_is_given_up_after_five_seconds_and_taken_up_when_it_is_back(
    store: JobStore, make_store: MakeStore, redis_server: subprocess.Popen[bytes]
) -> None:
    job_id = store.submit(submission())
    stores = (store, make_store())  # one with an open connection, one that has yet to connect
    os.kill(redis_server.pid, signal.SIGSTOP)
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for waiting in [pool.submit(each.submit, submission()) for each in stores]:
            with pytest.raises(StoreUnavailable):
                waiting.result()
    assert 4 < time.monotonic() - began < 9  # asked again, it would be ten
    os.kill(redis_server.pid, signal.SIGCONT)
    for each in stores:
        assert each.get(job_id).status is JobStatus.QUEUED


def test_a_killed_server_comes_back_with_every_job_where_it_was(
    store: JobStore, settings: Settings, redis_server: subprocess.Popen[bytes], raw: redis.Redis
) -> None:
    ended = finished_as(JobStatus.SUCCEEDED, store, raw).id
    running, waiting = store.submit(submission(key="k", body="one")), store.submit(submission())
    claim = take_one(store)
    before: list[Job] = [store.get(job_id) for job_id in (ended, running, waiting)]
    # While a busy disk takes its time over the last second, Redis writes nothing more.
    wait_for(lambda: raw.info("persistence")["aof_buffer_length"] == 0, seconds=60)
    redis_server.kill()
    redis_server.wait()
    server = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(store), seconds=10)
        assert [store.get(job_id) for job_id in (ended, running, waiting)] == before
        assert store.submit(submission(key="k", body="one")) == running
        assert store.renew([claim]) == {running: Lease.HELD}
        assert store.succeed(claim, RESULT, compute_ms=1.0)
        assert take_one(store).id == waiting
        assert_counts_add_up(store)
    finally:
        server.kill()
        server.wait()


def answers(store: JobStore) -> bool:
    try:
        store.ping()
    except StoreUnavailable:
        return False
    return True


@pytest.mark.parametrize("settings", [{"redis_memory_bytes": 1_500_000, "queue_limit": 100_000}], indirect=True)
def test_a_full_server_takes_nothing_new_but_what_it_has_runs_ends_and_makes_room(
    make_store: MakeStore, raw: redis.Redis
) -> None:
    store = make_store(retention_seconds=0)
    jobs = [store.submit(submission()) for _ in range(20)]
    overfull = "redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], string.rep('x', 1000000))"
    raw.eval(overfull, 1, "ballast")
    with pytest.raises(StoreUnavailable, match="Redis (takes no more data|has too little memory)"):
        store.submit(submission())
    store.heartbeat("w")
    assert store.workers_heard() == 1
    good, bad, released = take(store, 3)
    lost = take_one(make_store(lease_seconds=0.01))
    assert store.report([good], done=1, total=2, stage="cam") == {good.id: Lease.HELD}
    assert set(store.renew([good, bad]).values()) == {Lease.HELD}
    assert store.succeed(good, RESULT, compute_ms=1.0)
    assert store.fail(bad, ERROR)
    assert store.release(released)
    time.sleep(0.05)
    assert store.reap() == 1
    for job_id in (lost.id, released.id, *jobs[4:]):
        store.cancel(job_id)
    assert set(collect(store)) == set(jobs)
    raw.delete("ballast")
    store.submit(submission())


def test_many_jobs_need_one_doorbell_until_it_was_answered(store: JobStore) -> None:
    rings: list[str] = []
    for _ in range(20):
        store.submit(submission(), ring=lambda: rings.append("for the first"))
    assert len(rings) == 1
    take(store, 5)  # by a drain that goes on: it answers no doorbell
    store.submit(submission(), ring=lambda: rings.append("for none"))
    assert len(rings) == 1
    store.claim(30, claim_id="woken", woken=True)
    store.submit(submission(), ring=lambda: rings.append("for the next"))
    assert rings == ["for the first", "for the next"]


def test_a_worker_that_leaves_work_behind_calls_one_more_and_the_last_calls_nobody(store: JobStore) -> None:
    called: list[int] = []
    for _ in range(20):
        store.submit(submission())
    for worker in range(5):
        store.claim(5, claim_id=f"worker {worker}", woken=True, ring=lambda worker=worker: called.append(worker))  # type: ignore[misc]
    assert called == [0, 1, 2]


def test_a_doorbell_that_was_lost_is_soon_forgotten_and_no_job_hangs_on_it(make_store: MakeStore) -> None:
    store = make_store(reap_seconds=0.05)
    rings: list[bool] = []
    store.submit(submission(), ring=lambda: rings.append(True))
    time.sleep(0.06)
    store.submit(submission(), ring=lambda: rings.append(True))
    assert len(rings) == 2
    assert len(take(store, 8)) == 2


def test_nobody_is_called_for_what_no_worker_need_do(make_store: MakeStore) -> None:
    store = make_store(queue_limit=1)
    answered(store, "what is this?")
    rings: list[bool] = []
    store.submit(submission(answer="what is this?"), ring=lambda: rings.append(True))
    store.submit(submission())
    with pytest.raises(QueueFull):
        store.submit(submission(), ring=lambda: rings.append(True))
    assert not rings


def test_a_batch_ends_and_the_next_is_claimed_in_one_go(store: JobStore) -> None:
    ids = [store.submit(submission()) for _ in range(4)]
    rung: list[bool] = []
    first = store.claim(2, claim_id="first", woken=True)

    def go_on() -> tuple[list[bool], list[Claim]]:
        ends = [End(claim, JobStatus.SUCCEEDED, result_ref=RESULT, compute_ms=1.0) for claim in first]
        return store.finish_and_claim(ends, 1, claim_id="second", ring=lambda: rung.append(True))

    applied, (following,) = go_on()
    assert applied == [True, True] and following.id == ids[2] and rung == [True]
    assert [store.get(job_id).status for job_id in ids] == ["succeeded", "succeeded", "running", "queued"]
    assert go_on() == ([True, True], [following]), "sent again"
    assert store.finish_and_claim([], 1, claim_id="third") == ([], store.claim(1, claim_id="third"))


def test_ending_and_claiming_asks_for_nothing_else_unless_the_server_has_forgotten_the_scripts(
    store: JobStore, raw: redis.Redis
) -> None:
    def asked_for_scripts() -> int:
        return int(raw.info("commandstats").get("cmdstat_script", {"calls": 0})["calls"])

    claims: list[Claim] = []
    for number, forgotten in enumerate((True, False, True, False)):
        if forgotten:
            raw.script_flush()
        store.submit(submission())
        claims = claims or store.claim(1, claim_id="first")
        store.submit(submission())
        before = asked_for_scripts()
        ends = [End(claim, JobStatus.SUCCEEDED, result_ref=RESULT) for claim in claims]
        applied, claims = store.finish_and_claim(ends, 1, claim_id=str(number))
        assert applied == [True] and len(claims) == 1
        assert (asked_for_scripts() > before) is forgotten


def test_a_batch_is_finished_in_one_call_each_member_by_its_own_claim(store: JobStore, raw: redis.Redis) -> None:
    for _ in range(3):
        store.submit(submission())
    good, bad, lost = take(store, 3)
    lose_lease(raw, lost.id)
    store.reap()
    ends = [
        End(good, JobStatus.SUCCEEDED, result_ref=RESULT, compute_ms=5.0),
        End(bad, JobStatus.FAILED, error=ERROR),
        End(lost, JobStatus.SUCCEEDED, result_ref=RESULT),
    ]
    assert store.finish(ends) == [True, True, False]
    calls = raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert store.finish(ends) == [True, True, False]  # sent again
    assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1
    assert store.finish([]) == []
    assert store.get(good.id).result_ref == RESULT
    assert store.get(bad.id).error == ERROR
    assert store.get(lost.id).status is JobStatus.QUEUED


@pytest.mark.parametrize(
    "settings",
    [{"folder": name} for name in ("a b", "a#b", "a?b", "a%20b", "Übung", "x" * 120)],
    indirect=True,
    ids=lambda changes: changes["folder"][:5],
)
def test_store_and_broker_find_the_server_whatever_its_folder_is_called(store: JobStore, settings: Settings) -> None:
    store.submit(submission())
    with make_celery(settings).connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=2)
        assert connection.default_channel.client.info("clients")["connected_clients"] >= 2


@pytest.mark.parametrize("settings", [{"redis_memory_bytes": 4_000_000}], indirect=True)
def test_the_last_tenth_of_the_memory_is_kept_for_what_was_accepted(
    store: JobStore, settings: Settings, raw: redis.Redis
) -> None:
    accepted = store.submit(submission(key="before"))
    fill = "redis.call('SET', KEYS[1], string.rep('x', ARGV[1]))"
    raw.eval(fill, 1, "ballast", int(0.95 * 4_000_000) - int(raw.info("memory")["used_memory"]))
    with pytest.raises(StoreUnavailable, match="too little memory"):
        store.submit(submission())
    assert store.submit(submission(key="before")) == accepted  # what is known takes no room
    raw.lpush("a doorbell", "still fits")
    raw.delete("ballast")
    store.submit(submission())
    assert_counts_add_up(store)


def test_a_submit_waits_for_the_disk_where_the_server_knows_how_to(store: JobStore, raw: redis.Redis) -> None:
    if embedded.find_server()[1] < (7, 2):
        pytest.skip("WAITAOF needs a redis-server of 7.2 or later, and this machine has none")
    before = int(raw.info("commandstats").get("cmdstat_waitaof", {"calls": 0})["calls"])
    store.submit(submission())
    assert int(raw.info("commandstats")["cmdstat_waitaof"]["calls"]) == before + 1
