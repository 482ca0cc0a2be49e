"""Batches against a plain model of them: whatever happens in whatever order, both say the same."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

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

from shared.errors import JobConflict
from shared.jobs import Claim, ImageRecord, JobError, JobOptions, JobStatus, Lane
from shared.settings import Settings
from shared.store.batches import BatchStatus, Member
from shared.store.job_store import PREFIX, JobStore
from tests.shared.submissions import RESULT, assert_counts_add_up, assert_shares_add_up, lose_lease, raw_client

OPTIONS = JobOptions(models=("m",))
BROKEN = JobError("invalid_image", "It is no picture.")
TIMEOUT = JobError("timeout", "It took too long.")


@dataclass
class Slot:
    """One member as the model sees it. `leader` is the slot whose answer it waits for."""

    answer: str
    number: int
    status: JobStatus = JobStatus.QUEUED
    broken: bool = False
    solo: bool = False
    flagged: bool = False
    leader: Slot | None = None
    turn: int = 0  # in the lane; 0 where it does not wait there
    claimed: bool = False

    @property
    def turns(self) -> int:
        return 8 if self.solo else 1


@dataclass
class Plan:
    slots: list[Slot] = field(default_factory=list)
    status: BatchStatus = BatchStatus.RUNNING

    @property
    def alive(self) -> bool:
        return any(not slot.status.is_terminal for slot in self.slots)


class BatchMachine(RuleBasedStateMachine):
    known_batches: Bundle[str] = Bundle("known_batches")
    held: Bundle[Claim] = Bundle("held")

    def __init__(self, store: JobStore, raw: redis.Redis) -> None:
        super().__init__()
        self.store, self.batches, self.raw = store, store.batches, raw
        self.plans: dict[str, Plan] = {}
        self.known: set[str] = set()
        self.numbers = 0
        self.reached: int | None = None  # the latest turn that was claimed
        self.next_turn = 0

    @initialize()
    def forget_the_last_example(self) -> None:
        if left := self.raw.keys("*"):
            self.raw.delete(*left)

    # -- the model -------------------------------------------------------------------------------------------------

    def enter(self, slots: Sequence[Slot], *, each: int) -> None:
        """Let slots wait in the lane."""
        if not slots:
            return
        self.reached = self.numbers if self.reached is None else self.reached
        first = max(self.next_turn, self.reached)
        for place, slot in enumerate(slots):
            slot.turn = first + place * each
        self.next_turn = first + len(slots) * each

    def leave(self, slots: Sequence[Slot]) -> None:
        """Let slots wait no longer. Those never claimed give their turns back."""
        for slot in slots:
            if slot.turn and not slot.claimed:
                self.next_turn -= slot.turns
            slot.turn = 0

    def enter_queue(self, plan: Plan, slot: Slot) -> None:
        if plan.status is BatchStatus.RUNNING:
            self.enter([slot], each=slot.turns)

    def admit(self, slot: Slot, leader: Slot | None) -> Slot:
        self.numbers += 1
        slot.number = self.numbers
        if slot.answer in self.known:
            slot.status = JobStatus.SUCCEEDED
        elif slot.broken:
            slot.status = JobStatus.FAILED
        elif slot.answer and leader is not None and leader.status is JobStatus.QUEUED:
            slot.leader = leader
        return slot

    def end(self, plan: Plan, slot: Slot, status: JobStatus) -> None:
        if slot.status is JobStatus.QUEUED:
            self.leave([slot])
        slot.status = status
        followers = [other for other in plan.slots if other.leader is slot and other.status is JobStatus.QUEUED]
        for other in followers:
            if status is not JobStatus.CANCELLED:
                other.status, other.leader, other.broken = status, None, slot.broken
            else:
                other.leader = None if other is followers[0] else followers[0]
                if other is followers[0]:
                    self.enter_queue(plan, other)

    def find(self, job_id: str) -> tuple[Plan, Slot] | None:
        for batch_id, plan in self.plans.items():
            for place, job in self.batches.members(batch_id, most=1000).members:
                if job.id == job_id:
                    return plan, plan.slots[place]
        return None

    def waiting(self, plan: Plan) -> list[Slot]:
        """Those of a batch that may be claimed, or could be if it were not held."""
        found = [slot for slot in plan.slots if slot.status is JobStatus.QUEUED and slot.leader is None]
        return sorted(found, key=lambda slot: slot.number)

    def lane(self) -> list[Slot]:
        running = [plan for plan in self.plans.values() if plan.status is BatchStatus.RUNNING]
        return sorted(
            (slot for plan in running for slot in self.waiting(plan)), key=lambda slot: (slot.turn, slot.number)
        )

    # -- rules -----------------------------------------------------------------------------------------------------

    @rule(
        target=known_batches,
        kinds=st.lists(st.sampled_from(["", "", "q", "r", "broken"]), min_size=1, max_size=5),
    )
    def submit(self, kinds: list[str]) -> str:
        image = ImageRecord("a" * 64, 8, 6, "PNG", "cat.png")
        members = [Member(image, error=BROKEN) if kind == "broken" else Member(image, kind) for kind in kinds]
        plan = Plan()
        leaders: dict[str, Slot] = {}
        for kind in kinds:
            broken = kind == "broken"
            slot = self.admit(Slot("" if broken else kind, 0, broken=broken), leaders.get(kind))
            if kind and not broken:
                leaders.setdefault(kind, slot)
            plan.slots.append(slot)
        self.enter(self.waiting(plan), each=1)
        batch_id = self.batches.submit(members, OPTIONS)
        self.plans[batch_id] = plan
        return batch_id

    @rule(target=held, most=st.integers(1, 3))
    def claim(self, most: int) -> MultipleResults[Claim]:
        expected = self.lane()
        claims = self.store.claim(most, claim_id=secrets.token_hex(8))
        taken: list[Slot] = []
        for slot in expected:
            if len(taken) == most or (slot.solo and taken) or (taken and taken[0].solo):
                break
            taken.append(slot)
        found = [self.find(claim.id) for claim in claims]
        assert [one[1] for one in found if one] == taken
        for slot in taken:
            slot.status, slot.claimed = JobStatus.RUNNING, True
            self.reached = max(self.reached or 0, slot.turn)
        return multiple(*claims)

    @rule(claim=consumes(held), how=st.sampled_from(["succeed", "fail", "break", "release", "lose"]))
    def go_on(self, claim: Claim, how: str) -> None:
        found = self.find(claim.id)
        assert found is not None
        plan, slot = found
        if slot.status is not JobStatus.RUNNING:
            return
        if how == "succeed":
            assert self.store.succeed(claim, RESULT, compute_ms=1)
            self.known |= {slot.answer} - {""}
            self.end(plan, slot, JobStatus.SUCCEEDED)
        elif how in ("fail", "break"):
            slot.broken = how == "break"
            assert self.store.fail(claim, BROKEN if slot.broken else TIMEOUT)
            self.end(plan, slot, JobStatus.FAILED)
        else:
            if how == "release":
                assert self.store.release(claim)
            else:
                lose_lease(self.raw, claim.id)
                self.store.reap()
            slot.solo = slot.solo or (how == "lose" and not slot.flagged)
            if slot.flagged:
                self.end(plan, slot, JobStatus.CANCELLED)
            else:
                slot.status = JobStatus.QUEUED
                slot.turn = slot.turn if plan.status is BatchStatus.RUNNING else 0  # in the lane what it was

    @rule(batch_id=known_batches, place=st.integers(0, 4))
    def cancel_one(self, batch_id: str, place: int) -> None:
        plan = self.plans[batch_id]
        slot = plan.slots[place % len(plan.slots)]
        job = self.batches.members(batch_id).members[place % len(plan.slots)][1]
        if slot.status.is_terminal:
            return
        self.store.cancel(job.id)
        slot.flagged = True
        if slot.status is JobStatus.QUEUED:
            self.end(plan, slot, JobStatus.CANCELLED)

    @rule(batch_id=known_batches, what=st.sampled_from(["pause", "resume", "cancel"]))
    def change(self, batch_id: str, what: str) -> None:
        plan = self.plans[batch_id]
        if not plan.alive or plan.status is BatchStatus.CANCELLED:
            with pytest.raises(JobConflict):
                getattr(self.batches, what)(batch_id)
            return
        getattr(self.batches, what)(batch_id)
        waiting = self.waiting(plan)
        if what == "cancel":
            plan.status = BatchStatus.CANCELLED
            for slot in plan.slots:
                slot.flagged = slot.flagged or not slot.status.is_terminal
                if slot.status is JobStatus.QUEUED:
                    self.leave([slot])
                    slot.status = JobStatus.CANCELLED
        elif what == "pause" and plan.status is BatchStatus.RUNNING:
            plan.status = BatchStatus.PAUSED
            self.leave(waiting)
        elif what == "resume" and plan.status is BatchStatus.PAUSED:
            plan.status = BatchStatus.RUNNING
            self.enter(waiting, each=waiting[-1].turns if waiting else 0)

    @rule(batch_id=known_batches)
    def retry(self, batch_id: str) -> None:
        plan = self.plans[batch_id]
        wanted = [i for i, slot in enumerate(plan.slots) if slot.status is JobStatus.FAILED and not slot.broken]
        leaders: dict[str, Slot] = {}
        assert self.batches.retry(batch_id) == len(wanted)
        for i in wanted:
            old = plan.slots[i]
            plan.slots[i] = self.admit(Slot(old.answer, 0, solo=old.solo), leaders.get(old.answer))
            leaders.setdefault(old.answer, plan.slots[i])
            if plan.status is BatchStatus.CANCELLED:
                plan.status = BatchStatus.RUNNING
            if plan.slots[i].status is JobStatus.QUEUED and plan.slots[i].leader is None:
                self.enter_queue(plan, plan.slots[i])

    # -- what must hold after every step -----------------------------------------------------------------------------

    @invariant()
    def members_and_counts_are_those_of_the_model(self) -> None:
        for batch_id, plan in self.plans.items():
            batch = self.batches.get(batch_id)
            members = self.batches.members(batch_id).members
            assert [job.status for _, job in members] == [slot.status for slot in plan.slots]
            found = Counter(slot.status for slot in plan.slots)
            assert dict(batch.counts) == {status: found[status] for status in JobStatus}
            finished = not plan.alive and plan.status is not BatchStatus.CANCELLED
            assert batch.status is (BatchStatus.FINISHED if finished else plan.status)

    @invariant()
    def the_lane_holds_exactly_who_may_be_claimed_and_in_order(self) -> None:
        waiting = self.raw.zrange(f"{PREFIX}lane:{Lane.BULK}", 0, -1)
        scores = [self.raw.zscore(f"{PREFIX}lane:{Lane.BULK}", cast(str, one)) for one in waiting]
        assert [int(score or 0) for score in scores] == [slot.turn for slot in self.lane()]

    @invariant()
    def only_ended_batches_are_going_to_be_forgotten(self) -> None:
        ended = {batch_id for batch_id, plan in self.plans.items() if not plan.alive}
        assert set(self.raw.zrange(f"{PREFIX}batch_expiry", 0, -1)) == ended
        assert_counts_add_up(self.store)
        assert_shares_add_up(self.raw)


def test_batches_equal_their_model_whatever_happens_in_whatever_order(
    make_store: Callable[..., JobStore], settings: Settings
) -> None:
    store = make_store(max_attempts=100)
    with raw_client(settings) as raw:

        class Machine(BatchMachine):
            def __init__(self) -> None:
                super().__init__(store, raw)

        run_state_machine_as_test(
            Machine,
            settings=examples(
                max_examples=25,
                stateful_step_count=30,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
