"""The promises of batches, each on a real Redis."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
import redis

from shared.errors import JobConflict, QueueFull, TooManyRequests, UnknownJob
from shared.jobs import Claim, ImageRecord, JobError, JobOptions, JobStatus, Lane
from shared.settings import Settings
from shared.store.batches import Batch, BatchStatus, BatchStore, Member
from shared.store.connection import Argument, Scripts
from shared.store.job_store import PREFIX, JobStore
from shared.store.shares import memory_of
from tests.shared.submissions import (
    RESULT,
    assert_counts_add_up,
    collect,
    lose_lease,
    pass_deadline,
    raw_client,
    submission,
)

OPTIONS = JobOptions(models=("m",))
BROKEN = JobError("invalid_image", "It is no picture.")


@pytest.fixture
def batches(store: JobStore) -> BatchStore:
    return store.batches


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


@pytest.fixture(autouse=True)
def counts_add_up(store: JobStore) -> Iterator[None]:
    yield
    assert_counts_add_up(store)


def member(name: str = "cat.png", *, answer: str = "", error: JobError | None = None, solo: bool = False) -> Member:
    return Member(ImageRecord("a" * 64, 8, 6, "PNG", name), answer, solo, error)


def some(count: int) -> list[Member]:
    return [member(f"{i}.png") for i in range(count)]


def take(store: JobStore, most: int = 100) -> list[Claim]:
    return store.claim(most, claim_id=secrets.token_hex(8))


def counts(batch: Batch) -> dict[str, int]:
    return {status.value: count for status, count in batch.counts.items() if count}


def names(batches: BatchStore, batch_id: str) -> list[str]:
    return [job.image.filename for _, job in batches.members(batch_id).members]


def test_a_batch_waits_in_the_bulk_lane_in_order_and_is_counted(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit(some(3), OPTIONS, name="holiday", owner="me")
    batch = batches.get(batch_id)
    assert (batch.status, batch.name, batch.owner, batch.total) == (BatchStatus.RUNNING, "holiday", "me", 3)
    assert counts(batch) == {"queued": 3}
    assert store.waiting(Lane.BULK) == 3
    claims = take(store, 2)
    assert [claim.image.filename for claim in claims] == ["0.png", "1.png"]
    assert counts(batches.get(batch_id)) == {"queued": 1, "running": 2}
    store.succeed(claims[0], RESULT, compute_ms=1)
    store.fail(claims[1], JobError("internal", "It broke."))
    assert counts(batches.get(batch_id)) == {"queued": 1, "succeeded": 1, "failed": 1}
    store.succeed(take(store)[0], RESULT, compute_ms=1)
    batch = batches.get(batch_id)
    assert (batch.status, batch.ended, batch.eta_seconds) == (BatchStatus.FINISHED, 3, 0.0)
    assert batch.finished_ms is not None


def test_more_members_than_one_call_stores_keep_their_places(batches: BatchStore) -> None:
    batch_id = batches.submit(some(620), OPTIONS)
    first = batches.members(batch_id, most=600)
    assert [place for place, _ in first.members] == list(range(600)) and first.next == 600
    rest = batches.members(batch_id, start=600)
    assert [job.image.filename for _, job in rest.members] == [f"{i}.png" for i in range(600, 620)]
    assert rest.next is None


def test_members_are_listed_by_state(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit(some(5), OPTIONS)
    for claim in take(store, 2):
        store.succeed(claim, RESULT, compute_ms=1)
    page = batches.members(batch_id, statuses=[JobStatus.QUEUED], most=2)
    assert [place for place, _ in page.members] == [2, 3]
    assert page.next == 4


def test_a_batch_sent_twice_with_one_key_is_one_batch(batches: BatchStore, store: JobStore) -> None:
    first = batches.submit(some(3), OPTIONS, idempotency_key="k", body_hash="x")
    assert batches.submit(some(3), OPTIONS, idempotency_key="k", body_hash="x") == first
    assert store.waiting(Lane.BULK) == 3
    with pytest.raises(JobConflict, match="another request body"):
        batches.submit(some(2), OPTIONS, idempotency_key="k", body_hash="y")
    with pytest.raises(JobConflict, match="another request body"):
        store.submit(submission(key="k", body="x2"))


def test_a_batch_whose_sender_died_half_way_is_completed_by_the_same_key(
    batches: BatchStore, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Scripts.call

    def die_at_the_second_chunk(scripts: Scripts, name: str, /, **arguments: Argument) -> object:
        if name == "batch_enlist" and arguments["first"] == 250:
            raise ConnectionError
        return call(scripts, name, **arguments)

    monkeypatch.setattr(Scripts, "call", die_at_the_second_chunk)
    with pytest.raises(ConnectionError):
        batches.submit(some(300), OPTIONS, idempotency_key="k", body_hash="x")
    assert take(store) == [], "nothing runs of a batch that was never accepted"
    monkeypatch.undo()
    batch_id = batches.submit(some(300), OPTIONS, idempotency_key="k", body_hash="x")
    assert counts(batches.get(batch_id)) == {"queued": 300}
    assert store.waiting(Lane.BULK) == 300


def test_a_batch_that_was_never_completed_is_cancelled_by_the_keeper(
    batches: BatchStore, store: JobStore, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Scripts.call

    def never_open(scripts: Scripts, name: str, /, **arguments: Argument) -> object:
        return "done" if name == "batch_set" else call(scripts, name, **arguments)

    monkeypatch.setattr(Scripts, "call", never_open)
    batch_id = batches.submit(some(3), OPTIONS)
    monkeypatch.undo()
    store.reap()
    assert batches.get(batch_id).status is BatchStatus.FILLING
    raw.zadd(f"{PREFIX}filling", {batch_id: 1})
    store.reap()
    assert counts(batches.get(batch_id)) == {"cancelled": 3}


def test_what_is_no_picture_is_a_failed_member_of_a_batch_that_goes_on(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([member("a.png"), member("b.txt", error=BROKEN), member("c.png")], OPTIONS)
    assert counts(batches.get(batch_id)) == {"queued": 2, "failed": 1}
    job = batches.members(batch_id).members[1][1]
    assert (job.status, job.error) == (JobStatus.FAILED, BROKEN)
    assert [claim.image.filename for claim in take(store)] == ["a.png", "c.png"]


def test_a_batch_of_nothing_but_broken_files_has_finished(batches: BatchStore) -> None:
    batch = batches.get(batches.submit([member(error=BROKEN)], OPTIONS))
    assert (batch.status, batch.ended) == (BatchStatus.FINISHED, 1)
    assert batch.finished_ms is not None


# -- duplicates ----------------------------------------------------------------------------------------------------


def test_duplicates_are_computed_once_and_all_get_the_answer(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([member("a", answer="q"), member("b"), member("c", answer="q")], OPTIONS)
    claims = take(store)
    assert [claim.image.filename for claim in claims] == ["a", "b"]
    store.succeed(claims[0], RESULT, compute_ms=1)
    (_, first), _, (_, copy) = batches.members(batch_id).members
    assert (copy.status, copy.cached, copy.result_ref) == (JobStatus.SUCCEEDED, True, first.result_ref)
    assert counts(batches.get(batch_id)) == {"running": 1, "succeeded": 2}


def test_duplicates_fail_with_the_one_that_failed(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([member(answer="q"), member(answer="q")], OPTIONS)
    store.fail(take(store)[0], BROKEN)
    assert [job.error for _, job in batches.members(batch_id).members] == [BROKEN, BROKEN]


def test_when_the_first_of_three_duplicates_is_cancelled_the_second_is_computed_for_both(
    batches: BatchStore, store: JobStore
) -> None:
    batch_id = batches.submit([member(answer="q") for _ in range(3)], OPTIONS)
    jobs = [job.id for _, job in batches.members(batch_id).members]
    store.cancel(jobs[0])
    (claim,) = take(store)
    assert claim.id == jobs[1]
    store.succeed(claim, RESULT, compute_ms=1)
    assert [job.status for _, job in batches.members(batch_id).members] == ["cancelled", "succeeded", "succeeded"]


def test_a_duplicate_may_be_cancelled_alone(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([member(answer="q"), member(answer="q")], OPTIONS)
    store.cancel(batches.members(batch_id).members[1][1].id)
    store.succeed(take(store)[0], RESULT, compute_ms=1)
    assert counts(batches.get(batch_id)) == {"succeeded": 1, "cancelled": 1}


def test_an_answer_already_known_is_not_computed_again(batches: BatchStore, store: JobStore) -> None:
    store.submit(submission(answer="q"))
    store.succeed(take(store)[0], RESULT, compute_ms=1)
    batch = batches.get(batches.submit([member(answer="q"), member(answer="q")], OPTIONS))
    assert (batch.status, counts(batch)) == (BatchStatus.FINISHED, {"succeeded": 2})


# -- pause, resume, cancel, retry ----------------------------------------------------------------------------------


def test_a_paused_batch_is_not_claimed_and_keeps_its_place(batches: BatchStore, store: JobStore) -> None:
    first = batches.submit(some(4), OPTIONS)
    (running,) = take(store, 1)
    second = batches.submit([member("second")], OPTIONS)
    batches.pause(first)
    assert batches.get(first).status is BatchStatus.PAUSED
    assert store.waiting(Lane.BULK) == 1, "what is held costs a claim nothing"
    store.release(running)
    batches.pause(first)
    assert [claim.image.filename for claim in take(store)] == ["second"]
    batches.resume(first)
    batches.resume(first)
    assert [claim.image.filename for claim in take(store)] == [f"{i}.png" for i in range(4)]
    assert counts(batches.get(second)) == {"running": 1}


def test_what_runs_when_a_batch_is_paused_may_end(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit(some(2), OPTIONS)
    (claim,) = take(store, 1)
    batches.pause(batch_id)
    assert store.succeed(claim, RESULT, compute_ms=1)
    assert counts(batches.get(batch_id)) == {"queued": 1, "succeeded": 1}
    assert batches.get(batch_id).eta_seconds is None


def test_cancelling_ends_who_waits_and_tells_who_runs(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([*some(3), member(answer="q"), member(answer="q")], OPTIONS)
    (claim,) = take(store, 1)
    batches.cancel(batch_id)
    batch = batches.get(batch_id)
    assert (batch.status, counts(batch)) == (BatchStatus.CANCELLED, {"running": 1, "cancelled": 4})
    store.release(claim)
    assert counts(batches.get(batch_id)) == {"cancelled": 5}
    assert store.waiting(Lane.BULK) == 0
    for change in (batches.cancel, batches.pause, batches.resume):
        with pytest.raises(JobConflict, match="ended already"):
            change(batch_id)


def test_cancelling_a_paused_batch_ends_it(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit(some(3), OPTIONS)
    batches.pause(batch_id)
    batches.cancel(batch_id)
    assert counts(batches.get(batch_id)) == {"cancelled": 3}


def test_retry_puts_new_jobs_in_the_place_of_failed_ones_and_leaves_their_end_as_it_was(
    batches: BatchStore, store: JobStore
) -> None:
    batch_id = batches.submit([*some(3), member("no picture", error=BROKEN)], OPTIONS)
    good, bad, _ = take(store)
    store.succeed(good, RESULT, compute_ms=1)
    store.fail(bad, JobError("timeout", "It took too long."))
    assert batches.retry(batch_id) == 1
    assert counts(batches.get(batch_id)) == {"queued": 1, "running": 1, "succeeded": 1, "failed": 1}
    assert names(batches, batch_id) == ["0.png", "1.png", "2.png", "no picture"]
    assert store.get(bad.id).status is JobStatus.FAILED
    (again,) = take(store)
    assert (again.image.filename, again.attempt) == ("1.png", 1) and again.id != bad.id
    store.succeed(again, RESULT, compute_ms=1)
    assert counts(batches.get(batch_id)) == {"running": 1, "succeeded": 2, "failed": 1}
    assert batches.retry(batch_id) == 0


def test_retried_duplicates_are_computed_once(batches: BatchStore, store: JobStore) -> None:
    batch_id = batches.submit([member(answer="q"), member(answer="q")], OPTIONS)
    store.fail(take(store)[0], JobError("timeout", "It took too long."))
    assert batches.retry(batch_id) == 2
    (claim,) = take(store)
    store.succeed(claim, RESULT, compute_ms=1)
    assert counts(batches.get(batch_id)) == {"succeeded": 2}


def test_a_finished_batch_that_is_retried_lives_on(batches: BatchStore, store: JobStore, raw: redis.Redis) -> None:
    batch_id = batches.submit(some(1), OPTIONS)
    store.fail(take(store)[0], JobError("timeout", "It took too long."))
    assert raw.zscore(f"{PREFIX}batch_expiry", batch_id) is not None
    batches.retry(batch_id)
    assert raw.zscore(f"{PREFIX}batch_expiry", batch_id) is None
    assert batches.get(batch_id).status is BatchStatus.RUNNING


def test_every_script_of_a_batch_may_be_sent_twice(
    batches: BatchStore, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does where an answer is lost."""
    once = Scripts.call

    def twice(scripts: Scripts, name: str, /, **arguments: Argument) -> object:
        first, second = once(scripts, name, **arguments), once(scripts, name, **arguments)
        assert first == second or name == "batch_enlist"
        return second

    monkeypatch.setattr(Scripts, "call", twice)
    batch_id = batches.submit(some(3), OPTIONS)
    store.fail(take(store, 1)[0], JobError("timeout", "It took too long."))
    batches.pause(batch_id)
    assert batches.retry(batch_id) == 1
    batches.resume(batch_id)
    assert counts(batches.get(batch_id)) == {"queued": 3}
    batches.cancel(batch_id)
    assert counts(batches.get(batch_id)) == {"cancelled": 3}


def test_an_unknown_batch_is_said_to_be_unknown(batches: BatchStore) -> None:
    for look in (batches.get, batches.cancel, batches.pause, batches.resume, batches.retry, batches.members):
        with pytest.raises(UnknownJob, match="no batch with this id"):
            look("nothing")


# -- lanes, bounds, time -------------------------------------------------------------------------------------------


def test_an_interactive_job_shares_its_claim_with_no_bulk_job(batches: BatchStore, store: JobStore) -> None:
    batches.submit(some(5), OPTIONS)
    job_id = store.submit(submission())
    assert [claim.id for claim in take(store)] == [job_id]
    assert len(take(store)) == 5


def test_bulk_gets_every_eighth_claim_of_a_busy_interactive_lane_and_no_more(
    batches: BatchStore, store: JobStore
) -> None:
    batches.submit(some(100), OPTIONS)
    for _ in range(40):
        store.submit(submission())
    lanes = [store.get(take(store, 1)[0].id).lane for _ in range(24)]
    assert [place for place, lane in enumerate(lanes) if lane is Lane.BULK] == [7, 15, 23]


def test_whoever_comes_while_a_bulk_batch_runs_is_next(batches: BatchStore, store: JobStore) -> None:
    batches.submit(some(100), OPTIONS)
    for _ in range(20):
        take(store, 1)
        job_id = store.submit(submission())
        assert take(store, 1)[0].id == job_id


def test_a_batch_that_would_fill_the_memory_is_refused(make_store: Callable[..., JobStore], settings: Settings) -> None:
    store = make_store()
    with raw_client(settings) as raw:
        used, allowed = (int(raw.info("memory")[name]) for name in ("used_memory", "maxmemory"))
    room = int((0.75 * allowed - used) // memory_of([]))
    with pytest.raises(QueueFull, match="memory for waiting jobs"):
        store.batches.submit([member()] * room, OPTIONS)
    assert store.counts() == {}


def test_batches_that_are_filled_at_the_same_time_share_the_memory(batches: BatchStore, raw: redis.Redis) -> None:
    create = Scripts(raw, ["batch_create"])

    def begin(sharer: str, memory: int) -> str:
        texts = dict.fromkeys(("owner", "name", "idempotency", "body", "request", "versions"), "")
        numbers = {"total": 9, "memory": memory, "disk": 0}
        outcome, _ = create.call("batch_create", id=f"of {sharer}", sharer=sharer, options="{}", **texts, **numbers)
        return str(outcome)

    used, allowed = (int(raw.info("memory")[name]) for name in ("used_memory", "maxmemory"))
    left = int(0.75 * allowed) - used
    assert begin("a", int(0.7 * left)) == "created"
    assert begin("b", int(0.2 * left)) == "created"
    with pytest.raises(QueueFull, match="memory for waiting jobs"):
        batches.submit(some(int(0.2 * left / memory_of([]))), OPTIONS, sharer="c")
    with pytest.raises(TooManyRequests, match="your share of the memory"):
        batches.submit(some(1), OPTIONS, sharer="a")
    batches.submit(some(1), OPTIONS, sharer="c")


def test_members_that_are_not_run_in_time_expire(batches: BatchStore, store: JobStore, raw: redis.Redis) -> None:
    batch_id = batches.submit([member("a", answer="q"), member("b", answer="q"), member("c")], OPTIONS)
    for _, job in batches.members(batch_id).members:
        pass_deadline(raw, job.id)
    store.reap()
    assert counts(batches.get(batch_id)) == {"expired": 3}
    assert batches.retry(batch_id) == 3


def test_a_lost_worker_costs_a_batch_nothing(batches: BatchStore, store: JobStore, raw: redis.Redis) -> None:
    batch_id = batches.submit(some(2), OPTIONS)
    for claim in take(store):
        lose_lease(raw, claim.id)
    store.reap()
    assert counts(batches.get(batch_id)) == {"queued": 2}
    assert len(take(store)) == 1, "whose lease was lost runs alone"


def test_nothing_of_a_batch_is_forgotten_before_all_of_it_is(
    batches: BatchStore, store: JobStore, raw: redis.Redis
) -> None:
    batch_id = batches.submit([*some(4), member(error=BROKEN)], OPTIONS, idempotency_key="k", body_hash="x")
    for claim in take(store):
        store.succeed(claim, RESULT, compute_ms=1)
    assert raw.zcard(f"{PREFIX}expiry") == 0
    raw.zadd(f"{PREFIX}batch_expiry", {batch_id: 1})
    assert len(collect(store, 2)) == 2
    with pytest.raises(UnknownJob):
        batches.get(batch_id)
    assert store.is_collected(batch_id)
    assert len(collect(store, 100)) == 3
    left = {str(key).removeprefix(PREFIX).partition(":")[0] for key in raw.keys("*")}
    known = {"counts", "pace", "passed_over", "sequence", "claim", "tally", "tombstone", "reached", "turns", "user"}
    assert left == known


def test_the_time_to_come_follows_the_pace(batches: BatchStore, store: JobStore, raw: redis.Redis) -> None:
    batch_id = batches.submit(some(11), OPTIONS)
    assert batches.get(batch_id).eta_seconds is None
    (claim,) = take(store, 1)
    raw.hincrby(f"{PREFIX}batch:{batch_id}", "last", -2000)  # as if it had been claimed two seconds ago
    store.succeed(claim, RESULT, compute_ms=1)
    assert batches.get(batch_id).eta_seconds == pytest.approx(20, abs=2)
