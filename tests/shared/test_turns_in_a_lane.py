"""Sharers take turns within a lane: nobody stands behind all that another has asked for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from shared.jobs import Claim, ImageRecord, JobOptions, JobStatus, Lane
from shared.settings import Settings
from shared.store.batches import Member
from shared.store.job_store import PREFIX, End, JobStore
from tests.shared.submissions import collect, raw_client, submission

MakeStore = Callable[..., JobStore]
BATCH = 8
MEMBER = Member(ImageRecord("a" * 64, 8, 6, "PNG", "cat.png"))


@pytest.fixture
def crowd(make_store: MakeStore) -> JobStore:
    """A store with room for everybody."""
    return make_store(queue_limit=100_000, queue_limit_per_key=100_000, concurrency=2)


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


def submit(
    store: JobStore, sharer: str, count: int = 1, *, solo: bool = False, lane: Lane = Lane.INTERACTIVE
) -> list[str]:
    one = replace(submission(lane=lane), sharer=sharer, owner=sharer, solo=solo)
    return [store.submit(one) for _ in range(count)]


def claim(store: JobStore, most: int = BATCH) -> list[str]:
    return [one.id for one in store.claim(most, claim_id=secrets.token_hex(8))]


def test_one_job_of_another_starts_within_two_batches_of_five_thousand(crowd: JobStore) -> None:
    many = submit(crowd, "a", 5000)
    assert claim(crowd) == many[:BATCH]
    (one,) = submit(crowd, "b")
    assert one in claim(crowd) + claim(crowd)
    assert crowd.get(one).position is None


def test_while_somebody_has_a_single_job_a_claim_takes_one_of_each(crowd: JobStore, raw: redis.Redis) -> None:
    many = submit(crowd, "a", 20)
    (one,) = submit(crowd, "b")
    assert set(claim(crowd)) == {many[0], one}
    assert claim(crowd) == many[1:2], "the next job of b may come at any moment"
    assert 0 < raw.pttl(f"{PREFIX}single:interactive") <= 1000
    raw.delete(f"{PREFIX}single:interactive")
    assert claim(crowd) == many[2 : 2 + BATCH]


def test_whose_jobs_wait_is_known_for_a_while_after_they_were_sent(crowd: JobStore, raw: redis.Redis) -> None:
    many = submit(crowd, "a", 20)
    raw.delete(f"{PREFIX}user:interactive")  # a second later
    assert claim(crowd) == many[:BATCH]
    (one,) = submit(crowd, "b")
    assert set(claim(crowd)) == {many[BATCH], one}


def test_a_caller_that_is_alone_gets_whole_batches(crowd: JobStore) -> None:
    for _ in range(3):
        (one,) = submit(crowd, "a")
        assert claim(crowd) == [one]
    many = submit(crowd, "a", 20)
    assert claim(crowd) == many[:BATCH]


def test_where_jobs_were_cancelled_those_that_are_left_are_claimed_together(crowd: JobStore) -> None:
    first, *others = submit(crowd, "a", 3)
    crowd.cancel(first)
    assert claim(crowd) == others


def test_of_those_who_have_many_waiting_batches_are_whole(crowd: JobStore) -> None:
    for sharer in ("a", "b"):
        submit(crowd, sharer, 20)
    assert len(claim(crowd)) == BATCH


def test_of_many_who_asked_for_one_each_batches_are_whole(crowd: JobStore) -> None:
    for number in range(20):
        submit(crowd, f"caller {number}")
    assert len(claim(crowd)) == len(claim(crowd)) == BATCH


def test_an_expensive_job_of_one_takes_as_many_turns_as_a_batch_of_anothers(crowd: JobStore) -> None:
    long = submit(crowd, "a", 3, solo=True)
    short = submit(crowd, "b", 3 * BATCH)
    order: list[str] = []
    while taken := claim(crowd):
        order += taken
    assert [one for one in order if one in long] == long
    assert [one for one in order if one in short] == short
    assert order.index(long[1]) > BATCH // 2 and order.index(long[2]) > BATCH


def test_those_of_one_sharer_are_claimed_in_their_order(crowd: JobStore) -> None:
    ids = [job_id for _ in range(10) for job_id in submit(crowd, "a")]
    assert claim(crowd, 100) == ids


def test_nobody_saves_up_turns_by_waiting(crowd: JobStore) -> None:
    submit(crowd, "a", 50)
    while claim(crowd):
        """All of them."""
    mine, others = submit(crowd, "b", 20), submit(crowd, "a", 20)
    taken = claim(crowd, 20)
    assert 8 <= sum(one in mine for one in taken) <= 12
    assert 8 <= sum(one in others for one in taken) <= 12


def test_who_cancels_many_does_not_wait_for_their_turns(crowd: JobStore) -> None:
    for job_id in submit(crowd, "a", 100):
        crowd.cancel(job_id)
    submit(crowd, "b", 50)
    (one,) = submit(crowd, "a")
    assert one in claim(crowd)


def test_a_batch_that_was_held_goes_on_in_turns_with_the_others(crowd: JobStore) -> None:
    batch_id = crowd.batches.submit([MEMBER] * 40, JobOptions(("m",)), owner="a", sharer="a")
    crowd.batches.pause(batch_id)
    others = submit(crowd, "b", 40, lane=Lane.BULK)
    assert claim(crowd) == others[:BATCH]
    crowd.batches.resume(batch_id)
    taken = claim(crowd) + claim(crowd)
    assert 6 <= sum(one in others for one in taken) <= 10


def test_a_job_that_goes_back_to_its_lane_keeps_its_turn(crowd: JobStore) -> None:
    ids = submit(crowd, "a", 20)
    (first,) = crowd.claim(1, claim_id="c")
    crowd.release(first)
    assert claim(crowd, 20) == ids


def test_jobs_of_an_earlier_version_come_first(crowd: JobStore, raw: redis.Redis) -> None:
    old = submit(crowd, "a", 5)
    raw.delete(f"{PREFIX}reached:interactive", f"{PREFIX}turns:interactive")
    for number, job_id in enumerate(old, 1):  # as they were stored
        raw.zadd(f"{PREFIX}lane:interactive", {job_id: number})
    new = submit(crowd, "b", 5)
    assert claim(crowd, 10) == old + new


def test_turns_that_have_passed_are_forgotten(crowd: JobStore, raw: redis.Redis) -> None:
    submit(crowd, "a", 2)
    submit(crowd, "b", 40)
    claim(crowd, 20)
    claim(crowd, 20)
    collect(crowd)
    assert raw.hkeys(f"{PREFIX}turns:interactive") == ["b"]


def test_of_a_crew_one_process_is_left_to_jobs_that_are_not_long(crowd: JobStore) -> None:
    def take(crew: str) -> list[str]:
        return [one.id for one in crowd.claim(BATCH, claim_id=secrets.token_hex(8), crew=crew)]

    long = submit(crowd, "a", 30, solo=True)
    assert take("here") == long[:1]
    assert take("here") == []
    short = submit(crowd, "b", 3)
    assert take("here") == short, "those of a caller who asks for little are not kept waiting"
    assert take("elsewhere") == long[1:2], "each crew runs one"
    assert crowd.claim(BATCH, claim_id="any number") != []


def test_the_next_long_job_of_a_crew_begins_when_the_one_before_has_ended(crowd: JobStore) -> None:
    long = submit(crowd, "a", 2, solo=True)
    (first,) = crowd.claim(BATCH, claim_id="1", crew="here")
    assert crowd.claim(BATCH, claim_id="2", crew="here") == []
    end = End(first, JobStatus.SUCCEEDED, result_ref="b" * 64)
    applied, (second,) = crowd.finish_and_claim([end], BATCH, claim_id="3", crew="here")
    assert (applied, [first.id, second.id]) == ([True], long)


def test_a_job_is_alone_while_the_others_of_its_crew_have_none(crowd: JobStore) -> None:
    submit(crowd, "a", 5)

    def take(crew: str) -> Claim:
        (claimed,) = crowd.claim(1, claim_id=secrets.token_hex(8), crew=crew)
        return claimed

    first = take("here")
    assert first.is_alone and not take("here").is_alone
    assert take("elsewhere").is_alone, "that crew has its own cores"
    (elsewhere,) = crowd.claim(1, claim_id="any number")
    assert elsewhere.is_alone, "nothing is known of others"


def test_a_job_is_alone_that_follows_the_only_one_of_its_crew(crowd: JobStore) -> None:
    submit(crowd, "a", 2)
    (first,) = crowd.claim(1, claim_id="1", crew="here")
    end = End(first, JobStatus.SUCCEEDED, result_ref="b" * 64)
    _, (second,) = crowd.finish_and_claim([end], 1, claim_id="2", crew="here")
    assert second.is_alone


def test_a_crew_of_one_takes_long_jobs_too(make_store: MakeStore) -> None:
    alone = make_store(concurrency=1)
    long = submit(alone, "a", 1, solo=True)
    assert [one.id for one in alone.claim(BATCH, claim_id="1", crew="here")] == long


@pytest.mark.parametrize(
    ("form", "side", "claimed"),
    [("PNG", 5000, 1), ("PNG", 4000, 2), ("JPEG", 5000, 5), ("JPEG", 4000, BATCH), ("PNG", 2000, BATCH)],
)
def test_a_claim_brings_so_many_pixels_at_most(crowd: JobStore, form: str, side: int, claimed: int) -> None:
    member = replace(MEMBER, image=replace(MEMBER.image, width=side, height=side, format=form))
    crowd.batches.submit([member] * 20, JobOptions(("m",)), owner="a", sharer="a")
    assert len(claim(crowd)) == len(claim(crowd)) == claimed
