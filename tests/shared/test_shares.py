"""Each caller has a share of Redis's memory and of the disk, by what its jobs truly take."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from shared.errors import TooManyRequests
from shared.jobs import ImageRecord, JobError, JobOptions, JobStatus
from shared.settings import Settings
from shared.store.batches import Member
from shared.store.job_store import PREFIX, End, JobStore, Submission
from shared.store.shares import memory_of
from tests.shared.submissions import assert_shares_add_up, collect, raw_client, submission

MANY = 1100  # where the tables that hold a power of two have just doubled: a job takes most then
OPTIONS = JobOptions(models=("m",))
BROKEN = JobError("invalid_image", "the picture is damaged or incomplete and cannot be decoded")
LONG_NAME = 116 * "\U0001f408"
VERSIONS = {"resnet18-imagenet": secrets.token_hex(8), "nbdt-cifar10": secrets.token_hex(8)}


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", **getattr(request, "param", {}))


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


@pytest.fixture
def crowd(make_store: Callable[..., JobStore]) -> JobStore:
    """A store with room for everybody, which remembers a claim for no longer than it must."""
    return make_store(queue_limit=100_000, queue_limit_per_key=100_000, lease_seconds=0.01)


def sha() -> str:
    return secrets.token_hex(32)


def plain() -> Submission:
    return replace(submission(image=sha()), request_id=secrets.token_hex(8))


def rich() -> Submission:
    """With all that a job may have."""
    options = JobOptions(models=tuple(VERSIONS), methods=("cam", "gradcam", "occlusion"), mask=sha(), fill="grey")
    one = submission(owner="c" * 12, key=3 * sha(), body=sha(), answer=sha(), image=sha(), filename=LONG_NAME)
    webhook = f"https://hooks.example/{400 * 'a'}"
    return replace(one, options=options, webhook=webhook, versions=VERSIONS, sharer="c" * 12, request_id=sha()[:16])


def end_all(store: JobStore) -> None:
    while claims := store.claim(100, claim_id=secrets.token_hex(8)):
        store.finish([End(claim, JobStatus.SUCCEEDED, result_ref=sha(), compute_ms=12.345) for claim in claims])


def used(raw: redis.Redis) -> int:
    """Redis's memory without what comes and goes: buffers, and claims that may be asked for again."""
    raw.delete(*raw.scan_iter(f"{PREFIX}claim:*", count=1000), "none")
    told = raw.info("memory")
    return int(told["used_memory"] - told["mem_clients_normal"] - told["mem_aof_buffer"])


def taken(raw: redis.Redis, kind: str) -> int:
    return sum(int(text) for text in raw.hvals(f"{PREFIX}taken:{kind}"))


def grown(raw: redis.Redis, act: Callable[[], object]) -> tuple[int, int]:
    """By how many bytes the memory grew, and what sharers took of it."""
    before, had = used(raw), taken(raw, "memory")
    act()
    return used(raw) - before, taken(raw, "memory") - had


@pytest.mark.parametrize("make", [plain, rich])
def test_a_job_takes_at_most_what_it_is_counted_for_and_not_much_less(
    make: Callable[[], Submission], crowd: JobStore, raw: redis.Redis
) -> None:
    def act() -> None:
        for _ in range(MANY):
            crowd.submit(make())
        end_all(crowd)

    truth, counted = grown(raw, act)
    assert 0.7 * counted < truth <= counted
    assert_shares_add_up(raw)


@pytest.mark.parametrize("error", [None, BROKEN])
@pytest.mark.parametrize("name", ["cat.jpg", LONG_NAME])
def test_a_member_takes_at_most_what_it_is_counted_for_and_not_much_less(
    error: JobError | None, name: str, crowd: JobStore, raw: redis.Redis
) -> None:
    def act() -> None:
        members = [Member(ImageRecord(sha(), 8, 6, "PNG", name), sha(), error=error) for _ in range(MANY)]
        crowd.batches.submit(members, OPTIONS, owner="a", sharer="a", versions=VERSIONS, request_id=sha()[:16])
        end_all(crowd)

    truth, counted = grown(raw, act)
    assert 0.7 * counted < truth <= counted
    assert_shares_add_up(raw)


SMALL = pytest.mark.parametrize("settings", [{"redis_memory_bytes": 20_000_000}], indirect=True)


def batch(store: JobStore, sharer: str, count: int, *, file_bytes: int = 0, room: int = 1 << 60) -> str:
    members = [Member(ImageRecord(sha(), 8, 6, "PNG", "cat.png"), file_bytes=file_bytes)] * count
    return store.batches.submit(members, OPTIONS, owner=sharer, sharer=sharer, room=room)


def fill(store: JobStore, sharer: str) -> list[str]:
    """Batches of 20 until there is no share left for one more."""
    made = []
    with pytest.raises(TooManyRequests, match="your share of the memory for jobs; delete jobs or batches"):
        while True:
            made.append(batch(store, sharer, 20))
    return made


@SMALL
def test_one_who_takes_all_that_it_may_leaves_a_share_to_each_of_the_others(store: JobStore, raw: redis.Redis) -> None:
    shares = [len(fill(store, sharer)) for sharer in "abc"]
    assert shares[0] > 2 * shares[1] > 4 * shares[2] > 0
    assert_shares_add_up(raw)
    with pytest.raises(TooManyRequests):
        batch(store, "a", 20)
    store.submit(replace(submission(owner="d"), sharer="d"))


@SMALL
def test_the_memory_left_for_single_jobs_is_shared_too(make_store: Callable[..., JobStore]) -> None:
    store = make_store(queue_limit=100_000, queue_limit_per_key=100_000)
    with pytest.raises(TooManyRequests, match="your share of the memory for jobs"):
        for _ in range(20_000_000 // memory_of([])):
            store.submit(replace(submission(owner="a"), sharer="a"))
    store.submit(replace(submission(owner="b"), sharer="b"))


@SMALL
def test_what_is_deleted_makes_room_for_its_owner_again_and_leaves_nothing(store: JobStore, raw: redis.Redis) -> None:
    store.submit(submission())
    before = used(raw)
    made = fill(store, "a")
    for batch_id in made:
        store.batches.cancel(batch_id)
        store.forget(batch_id)
    assert used(raw) - before < 0.02 * 20_000_000
    assert not raw.keys(f"{PREFIX}tombstone:*")
    assert len(fill(store, "a")) > 0.9 * len(made)


def test_the_disk_is_shared_by_the_bytes_of_pictures_and_results(store: JobStore, raw: redis.Redis) -> None:
    first = batch(store, "a", 3, file_bytes=1000)
    assert taken(raw, "disk") == 3000
    for claim in store.claim(3, claim_id="1"):
        store.finish([End(claim, JobStatus.SUCCEEDED, result_ref=sha(), result_bytes=500)])
    assert taken(raw, "disk") == 4500
    with pytest.raises(TooManyRequests, match="your share of the disk"):
        batch(store, "a", 1, file_bytes=1000, room=1800)
    with pytest.raises(TooManyRequests, match="your share of the disk"):
        store.submit(replace(submission(), sharer="a", file_bytes=1000), room=1800)
    batch(store, "a", 1, file_bytes=1000, room=1900)
    store.submit(replace(submission(), sharer="b", file_bytes=1000), room=1800)
    store.forget(first)
    assert taken(raw, "disk") == 2000
    assert_shares_add_up(raw)


def test_what_takes_no_room_on_the_disk_needs_none(store: JobStore, raw: redis.Redis) -> None:
    """An answer that is known, and a file that cannot be explained, which is not kept."""
    asked = replace(submission(answer="q"), sharer="a", file_bytes=1000)
    store.submit(asked)
    end_all(store)
    store.submit(asked, room=0)
    broken = [Member(ImageRecord(sha(), 0, 0, "", "cat.png"), error=BROKEN)]
    store.batches.submit(broken, OPTIONS, sharer="b", room=0)
    assert taken(raw, "disk") == 1000


def test_a_member_that_is_tried_again_takes_as_much_as_before(store: JobStore, raw: redis.Redis) -> None:
    batch_id = batch(store, "a", 2, file_bytes=1000)
    for claim in store.claim(2, claim_id="1"):
        store.fail(claim, JobError("internal", "It failed."))
    before = {kind: taken(raw, kind) for kind in ("memory", "disk")}
    assert store.batches.retry(batch_id) == 2
    assert {kind: taken(raw, kind) for kind in before} == {kind: 2 * size for kind, size in before.items()}
    assert_shares_add_up(raw)


def test_jobs_of_an_earlier_version_take_nothing_and_are_forgotten(
    make_store: Callable[..., JobStore], raw: redis.Redis
) -> None:
    store = make_store(retention_seconds=0)
    old = store.submit(replace(submission(), sharer="a"))
    raw.hdel(f"{PREFIX}job:{old}", "memory", "disk")
    raw.delete(f"{PREFIX}taken:memory")
    end_all(store)
    assert collect(store) == [old]
    assert not raw.keys(f"{PREFIX}taken:*")
