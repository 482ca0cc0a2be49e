"""The job store against a plain model of it: whatever happens in whatever order, both say the same."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from shared.errors import JobConflict, QueueFull, UnknownJob
from shared.jobs import TERMINAL, Claim, JobError, JobStatus, Lane
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore, Lease
from shared.store.pools import Pool
from tests.shared.submissions import (
    RESULT,
    assert_shares_add_up,
    collect,
    lose_lease,
    pass_deadline,
    raw_client,
    submission,
)

ATTEMPTS, LIMIT = 2, 4
POOLS = [Pool(), Pool("m", ("m",)), Pool("bulk", (), (Lane.BULK,)), Pool("quick", ("n", "o"), (Lane.INTERACTIVE,))]
MODELS = [("m",), ("m",), ("n",), ("n", "m")]


@dataclass
class Record:
    """A job as the model sees it. `holder` is the newest claim, None where nobody may finish the job."""

    lane: Lane
    number: int
    sharer: str
    answer: str
    models: tuple[str, ...]
    status: JobStatus = JobStatus.QUEUED
    attempts: int = 0
    solo: bool = False
    cancelled: bool = False
    late: bool = False
    holder: int | None = None
    turn: int = 0
    claimed: bool = False

    @property
    def turns(self) -> int:
        return 8 if self.solo else 1

    def end(self, status: JobStatus) -> None:
        self.status = status
        self.late = False

    def wait_again(self, *, solo: bool) -> None:
        self.status, self.holder, self.solo = JobStatus.QUEUED, None, self.solo or solo


@dataclass
class Model:
    """What the store promises, without Redis, time or fences."""

    jobs: dict[str, Record] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)  # how many jobs not yet forgotten give the answer
    passed: int = 0  # claims in a row that took interactive jobs while bulk jobs waited
    claims: int = 0
    collected: int = 0
    accepted: int = 0
    reached: dict[Lane, int] = field(default_factory=dict)  # the latest turn that was claimed
    turns: dict[tuple[Lane, str], int] = field(default_factory=dict)  # the next of each sharer

    def waiting(self, lane: Lane) -> list[str]:
        found = [
            ((r.turn, r.number), i) for i, r in self.jobs.items() if r.lane is lane and r.status is JobStatus.QUEUED
        ]
        return [job_id for _, job_id in sorted(found)]

    def take_turn(self, job: Record) -> None:
        reached = self.reached.setdefault(job.lane, job.number)
        job.turn = max(self.turns.get((job.lane, job.sharer), 0), reached)
        self.turns[job.lane, job.sharer] = job.turn + job.turns

    def end_waiting(self, job: Record, status: JobStatus) -> None:
        """What was never claimed gives its turns back."""
        self.turns[job.lane, job.sharer] -= 0 if job.claimed else job.turns
        job.end(status)

    def is_full(self, lane: Lane, models: tuple[str, ...]) -> bool:
        waiting = [sorted(self.jobs[job_id].models) for job_id in self.waiting(lane)]
        kinds = {tuple(kind) for kind in [*waiting, sorted(models)]}
        return len(waiting) >= LIMIT and waiting.count(sorted(models)) >= LIMIT / len(kinds)

    def claim(self, pool: Pool, most: int) -> list[str]:
        lanes = [Lane.BULK, Lane.INTERACTIVE] if self.passed >= 7 else [Lane.INTERACTIVE, Lane.BULK]
        for lane in lanes:
            if taken := self.claim_from(lane, pool, most):
                passes = lane is Lane.INTERACTIVE and self.waiting(Lane.BULK)
                if not pool.lanes:
                    self.passed = self.passed + 1 if passes else 0
                return taken
        return []

    def claim_from(self, lane: Lane, pool: Pool, most: int) -> list[str]:
        taken: list[str] = []
        alone = False
        for job_id in self.waiting(lane):
            job = self.jobs[job_id]
            if not pool.takes(job.models, lane):
                continue
            if len(taken) == most or alone:
                break
            if job.late:
                self.end_waiting(job, JobStatus.EXPIRED)
            elif job.attempts == ATTEMPTS:
                self.end_waiting(job, JobStatus.FAILED)
            elif not job.solo or not taken:
                taken.append(job_id)
                alone = job.solo
            else:
                alone = True
        for job_id in taken:
            job = self.jobs[job_id]
            self.claims += 1
            job.status, job.holder, job.attempts = JobStatus.RUNNING, self.claims, job.attempts + 1
            job.claimed = True
            self.reached[lane] = max(self.reached[lane], job.turn)
        return taken


@dataclass(frozen=True)
class Held:
    """A claim in somebody's hands, and its number in the model."""

    claim: Claim
    number: int


def of_pool(store: JobStore, pool: Pool) -> JobStore:
    """The store as a worker of this pool has it."""
    lanes, models = ",".join(pool.lanes), ",".join(pool.models)
    return JobStore(store._redis, replace(store._settings, pool=pool.name, pool_lanes=lanes, pool_models=models))


class StoreMachine(RuleBasedStateMachine):
    jobs: Bundle[str] = Bundle("jobs")
    held: Bundle[Held] = Bundle("held")

    def __init__(self, store: JobStore, raw: redis.Redis) -> None:
        super().__init__()
        self.store = store
        self.stores = {pool: of_pool(store, pool) for pool in POOLS}
        self.raw = raw
        self.model = Model()

    @initialize()
    def forget_the_last_example(self) -> None:
        if left := self.raw.keys("*"):
            self.raw.delete(*left)

    # -- rules ---------------------------------------------------------------------------------------------------

    @rule(
        target=jobs,
        lane=st.sampled_from(Lane),
        key=st.sampled_from(["", "", "k", "l"]),
        body=st.sampled_from("xy"),
        answer=st.sampled_from(["", "", "q"]),
        models=st.sampled_from(MODELS),
        sharer=st.sampled_from(["", "", "s", "t"]),
    )
    def submit(
        self, lane: Lane, key: str, body: str, answer: str, models: tuple[str, ...], sharer: str
    ) -> str | MultipleResults[str]:
        model = self.model
        wanted = replace(submission(lane=lane, key=key, body=body, answer=answer, models=models), sharer=sharer)
        if key in model.keys:
            known, known_body = model.keys[key]
            if body != known_body:
                with pytest.raises(JobConflict):
                    self.store.submit(wanted)
                return multiple()
            assert self.store.submit(wanted) == known
            return known
        answered = model.known.get(answer, 0) > 0
        if not answered and model.is_full(lane, models):
            with pytest.raises(QueueFull):
                self.store.submit(wanted)
            return multiple()
        job_id = self.store.submit(wanted)
        assert job_id not in model.jobs
        model.accepted += 1
        model.jobs[job_id] = job = Record(lane, model.accepted, sharer, answer, models)
        if answered:
            job.end(JobStatus.SUCCEEDED)
            model.known[answer] += 1
        else:
            model.take_turn(job)
        if key:
            model.keys[key] = (job_id, body)
        return job_id

    @rule(target=held, pool=st.sampled_from([Pool(), *POOLS]), most=st.integers(1, 3), again=st.booleans())
    def claim(self, pool: Pool, most: int, again: bool) -> MultipleResults[Held]:
        claim_id = secrets.token_hex(8)
        claims = self.stores[pool].claim(most, claim_id=claim_id)
        assert [claim.id for claim in claims] == self.model.claim(pool, most)
        if again and claims:  # the answer was lost and the same call is sent once more
            assert self.stores[pool].claim(most, claim_id=claim_id) == claims
        number = self.model.claims - len(claims)
        for claim in claims:
            assert claim.attempt == self.model.jobs[claim.id].attempts
            assert claim.solo == self.model.jobs[claim.id].solo
        return multiple(*(Held(claim, number + i) for i, claim in enumerate(claims, 1)))

    @rule(one=held, status=st.sampled_from(TERMINAL))
    def finish(self, one: Held, status: JobStatus) -> None:
        claim, job = one.claim, self.model.jobs.get(one.claim.id)
        if status is JobStatus.SUCCEEDED:
            applied = self.store.succeed(claim, RESULT + job.answer if job else RESULT, compute_ms=1.0)
        elif status is JobStatus.FAILED:
            applied = self.store.fail(claim, JobError("internal", "It broke."))
        else:
            applied = self.store.stop(claim, status)
        ours = job is not None and job.holder == one.number
        assert applied == (ours and job is not None and job.status in (JobStatus.RUNNING, status))
        if job is not None and ours and job.status is JobStatus.RUNNING:
            job.end(status)
            if status is JobStatus.SUCCEEDED and job.answer:
                self.model.known[job.answer] = self.model.known.get(job.answer, 0) + 1

    @rule(one=held, charge=st.booleans(), solo=st.booleans())
    def release(self, one: Held, charge: bool, solo: bool) -> None:
        job = self.model.jobs.get(one.claim.id)
        ours = job is not None and job.holder == one.number and job.status is JobStatus.RUNNING
        assert self.store.release(one.claim, charge=charge, solo=solo) == ours
        if job is not None and ours:
            job.attempts -= not charge
            if job.cancelled:
                job.holder = None
                job.end(JobStatus.CANCELLED)
            else:
                job.wait_again(solo=solo)

    @rule(one=held)
    def renew(self, one: Held) -> None:
        job = self.model.jobs.get(one.claim.id)
        expected = Lease.HELD
        if job is None or job.holder != one.number or job.status is not JobStatus.RUNNING:
            expected = Lease.LOST
        elif job.cancelled:
            expected = Lease.CANCELLED
        elif job.late:
            expected = Lease.PAST_DEADLINE
        assert self.store.renew([one.claim]) == {one.claim.id: expected}

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        if job is None:
            with pytest.raises(UnknownJob):
                self.store.cancel(job_id)
        elif job.status.is_terminal:
            with pytest.raises(JobConflict):
                self.store.cancel(job_id)
        else:
            self.store.cancel(job_id)
            job.cancelled = True
            if job.status is JobStatus.QUEUED:
                self.model.end_waiting(job, JobStatus.CANCELLED)

    @rule(job_id=jobs)
    def let_the_deadline_pass(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        if job is not None and not job.status.is_terminal:
            pass_deadline(self.raw, job_id)
            job.late = True

    @rule(lost=st.sets(st.integers(0, 5)))
    def lose_leases_and_reap(self, lost: set[int]) -> None:
        running = sorted(i for i, r in self.model.jobs.items() if r.status is JobStatus.RUNNING)
        expected = 0
        for job_id in [job_id for n, job_id in enumerate(running) if n in lost]:
            lose_lease(self.raw, job_id)
            job = self.model.jobs[job_id]
            job.holder = None
            expected += 1
            if job.cancelled:
                job.end(JobStatus.CANCELLED)
            elif job.late:
                job.end(JobStatus.EXPIRED)
            elif job.attempts == ATTEMPTS:
                job.end(JobStatus.FAILED)
            else:
                job.wait_again(solo=True)
        for job in self.model.jobs.values():
            if job.status is JobStatus.QUEUED and job.late:
                self.model.end_waiting(job, JobStatus.EXPIRED)
                expected += 1
        assert self.store.reap() == expected

    @rule(job_id=consumes(jobs))
    def let_the_retention_pass_and_collect(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        if job is None or not job.status.is_terminal:
            assert collect(self.store) == []
            return
        self.raw.zadd(f"{PREFIX}expiry", {job_id: 1})
        assert collect(self.store) == [job_id]
        assert self.store.is_collected(job_id)
        del self.model.jobs[job_id]
        self.model.collected += 1
        self.model.keys = {key: known for key, known in self.model.keys.items() if known[0] != job_id}
        if job.status is JobStatus.SUCCEEDED and job.answer:
            self.model.known[job.answer] -= 1

    # -- what must hold after every step ---------------------------------------------------------------------------

    @invariant()
    def every_job_is_in_the_state_that_the_model_says(self) -> None:
        for job_id, expected in self.model.jobs.items():
            job = self.store.get(job_id)
            assert (job.status, job.attempts) == (expected.status, expected.attempts)
            assert (job.finished_ms is not None) == expected.status.is_terminal

    @invariant()
    def the_counts_are_those_of_the_jobs(self) -> None:
        counts = Counter(self.store.counts())
        found = Counter(record.status.value for record in self.model.jobs.values())
        assert {status: counts[status] for status in JobStatus} == {status: found[status] for status in JobStatus}
        assert (counts["accepted"], counts["collected"]) == (self.model.accepted, self.model.collected)
        assert self.model.accepted == found.total() + self.model.collected

    @invariant()
    def each_sharer_takes_what_its_jobs_take(self) -> None:
        assert_shares_add_up(self.raw)

    @invariant()
    def the_lanes_hold_exactly_who_waits_and_in_order(self) -> None:
        for lane in Lane:
            waiting = self.model.waiting(lane)
            assert self.raw.zrange(f"{PREFIX}lane:{lane}", 0, -1) == waiting
            kinds: dict[str, list[str]] = {}
            for job_id in waiting:
                kinds.setdefault(",".join(sorted(self.model.jobs[job_id].models)), []).append(job_id)
            assert self.raw.smembers(f"{PREFIX}needs:{lane}") == kinds.keys()
            for needs, own in kinds.items():
                assert self.raw.zrange(f"{PREFIX}lane:{lane}:{needs}", 0, -1) == own
            assert self.store.waiting(lane) == len(waiting)

    @invariant()
    def an_ended_job_holds_no_lease_and_no_deadline(self) -> None:
        running = {job_id for job_id, job in self.model.jobs.items() if job.status is JobStatus.RUNNING}
        alive = {job_id for job_id, job in self.model.jobs.items() if not job.status.is_terminal}
        assert set(self.raw.zrange(f"{PREFIX}running", 0, -1)) == running
        assert set(self.raw.zrange(f"{PREFIX}deadlines", 0, -1)) == alive

    @invariant()
    def every_job_is_listed_once_by_its_state_and_newest_first(self) -> None:
        order = sorted(self.model.jobs, key=lambda job_id: -self.model.jobs[job_id].number)
        with self.raw.pipeline() as asked:
            for status in ("any", *JobStatus):
                for place in (f"jobs:{status}", f"owned:{status}:"):
                    asked.zrevrange(f"{PREFIX}{place}", 0, -1)
            listed = iter(asked.execute())
        for status in (None, *JobStatus):
            expected = [job_id for job_id in order if status in (None, self.model.jobs[job_id].status)]
            assert [next(listed), next(listed)] == [expected, expected]
        lists = {f"{PREFIX}jobs:{status}" for status in ("any", *JobStatus)}
        assert set(self.raw.keys(f"{PREFIX}jobs:*")) <= lists, "no list is left behind"


def test_the_store_equals_its_model_whatever_happens_in_whatever_order(
    make_store: Callable[..., JobStore], settings: Settings
) -> None:
    store = make_store(max_attempts=ATTEMPTS, queue_limit=LIMIT)
    with raw_client(settings) as raw:

        class Machine(StoreMachine):
            def __init__(self) -> None:
                super().__init__(store, raw)

        run_state_machine_as_test(
            Machine,
            settings=examples(
                max_examples=30,
                stateful_step_count=40,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
