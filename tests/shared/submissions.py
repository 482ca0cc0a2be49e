"""Submissions and looks behind the store that its tests share."""

from __future__ import annotations

from collections import Counter

import redis

from shared.jobs import ImageRecord, JobOptions, JobStatus, Lane
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore, Submission

IMAGE = "a" * 64
RESULT = "b" * 64


def submission(
    *,
    lane: Lane = Lane.INTERACTIVE,
    owner: str = "",
    key: str = "",
    body: str = "",
    answer: str = "",
    image: str = IMAGE,
    filename: str = "cat.png",
    models: tuple[str, ...] = ("m",),
) -> Submission:
    return Submission(
        options=JobOptions(models=models),
        image=ImageRecord(image, 8, 6, "PNG", filename),
        lane=lane,
        owner=owner,
        idempotency_key=key,
        body_hash=body,
        answer_key=answer,
    )


def raw_client(settings: Settings) -> redis.Redis:
    """A client beside the store, to move the times that the store would wait for."""
    return redis.Redis.from_url(settings.store_url, decode_responses=True)


def lose_lease(client: redis.Redis, job_id: str) -> None:
    """As if the lease of a running job had run out."""
    assert client.zadd(f"{PREFIX}running", {job_id: 1}, xx=True, ch=True) == 1


def pass_deadline(client: redis.Redis, job_id: str) -> None:
    """As if the deadline of a job that has not ended had passed."""
    client.hset(f"{PREFIX}job:{job_id}", "deadline", 1)
    client.zadd(f"{PREFIX}deadlines", {job_id: 1}, xx=True)


def collect(store: JobStore, most: int = 1000) -> list[str]:
    """Forget jobs whose retention has passed, up to so many; their ids."""
    return next(store.collected(most))[0]


def assert_shares_add_up(client: redis.Redis) -> None:
    """What each sharer takes is what its jobs say that they take."""
    taken: dict[str, Counter[str]] = {"memory": Counter(), "disk": Counter()}
    for job in client.scan_iter(f"{PREFIX}job:*"):
        said = client.hgetall(job)
        for kind in taken:
            taken[kind][str(said["sharer"])] += int(said.get(kind, 0))
    for kind, expected in taken.items():
        found = {sharer: int(text) for sharer, text in client.hgetall(f"{PREFIX}taken:{kind}").items()}
        assert found == +expected, kind


def assert_counts_add_up(store: JobStore) -> None:
    """No job is lost: whatever was accepted is waiting, running, ended or collected."""
    counts = store.counts()
    found = sum(counts.get(name, 0) for name in (*JobStatus, "collected"))
    assert counts.get("accepted", 0) == found, counts
    assert min(counts.values(), default=0) >= 0, counts
