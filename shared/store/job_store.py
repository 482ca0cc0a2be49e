"""The job store: the one truth about every job. Each operation is one Lua script, atomic, safe to send twice."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any, cast

import redis

from shared.errors import JobConflict, QueueFull, StoreUnavailable, TooManyRequests, UnknownJob
from shared.jobs import Claim, ImageRecord, Job, JobError, JobOptions, JobStatus, Lane, versions_text
from shared.settings import Settings
from shared.store.batches import BatchStore
from shared.store.changes import Changes
from shared.store.connection import PREFIX as PREFIX
from shared.store.connection import Argument, Call, Scripts, connect, present
from shared.store.connection import answering as _answering
from shared.store.fetches import FetchStore
from shared.store.ids import new_id
from shared.store.keys import KeyRing
from shared.store.overview import Overview
from shared.store.pools import Pool, PoolStore
from shared.store.rates import Rates
from shared.store.shares import memory_of, over_share
from shared.store.webhooks import WebhookSchedule

_NAMES = (
    "submit",
    "claim",
    "renew",
    "report",
    "finish",
    "release",
    "reap",
    "cancel",
    "collect",
    "look",
    "expire_now",
    "nearly_full",
)
_COUNTS = ("overview", "add", "heartbeat")


_COLLECTED_AT_ONCE = 1000  # jobs
PACE_MS = 100.0  # of a job, before any was measured

Ring = Callable[[], None]
"""Rings for a worker, as `broker.Bell.ring` does."""


class Role(StrEnum):
    """What a Celery process does: a worker drains, and may do all the rest as well; a fetcher fetches models."""

    WORKER = "worker"
    KEEPER = "keeper"
    SENDER = "sender"
    FETCHER = "fetcher"


class Lease(IntEnum):
    """What renewing a lease answers for one job."""

    LOST = 0
    HELD = 1
    CANCELLED = 2
    PAST_DEADLINE = 3


@dataclass(frozen=True)
class Submission:
    """A new job, checked and ready to be stored. `answer_key` names the question, for answers already known; a `solo`
    job is claimed in a batch of one, because it is long; `webhook` is the address that is told of its end."""

    options: JobOptions
    image: ImageRecord
    lane: Lane = Lane.INTERACTIVE
    owner: str = ""
    idempotency_key: str = ""
    body_hash: str = ""
    answer_key: str = ""
    solo: bool = False
    webhook: str = field(default="", repr=False)
    request_id: str = ""  # of the request that brought it, for the logs
    versions: Mapping[str, str] = field(default_factory=dict)  # fingerprints of the models that are to answer, by name
    sharer: str = ""  # whose turn in its lane the job takes, and whose share of memory and disk
    file_bytes: int = 0  # of its picture and its mask


@dataclass(frozen=True)
class End:
    """How a claimed job ends: well with the reference of its result, or as failed, cancelled or expired. A result that
    is not `as_asked`, by another version of a model, answers no other job."""

    claim: Claim
    status: JobStatus
    result_ref: str = ""
    compute_ms: float = 0.0
    error: JobError | None = None
    as_asked: bool = True
    result_bytes: int = 0


class JobStore:
    """The store on a Redis server. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._settings = settings
        self._ring_ms = _ms(settings.reap_seconds)  # the keeper then rings himself
        self._lease_ms = _ms(settings.lease_seconds)
        self._retention_ms = _ms(settings.retention_seconds)
        self._heard_ms = _ms(settings.heartbeat_seconds)
        self.keys = KeyRing(client, settings)
        self.batches = BatchStore(client, settings)
        self.pools = PoolStore(client, settings)
        self._pool = Pool.of(settings)
        self.webhooks = WebhookSchedule(client, settings)
        self.fetches = FetchStore(client, settings)
        self.rates = Rates(client)
        self._scripts = Scripts(client, (*_NAMES, *_COUNTS))

    @classmethod
    def connect(cls, settings: Settings) -> JobStore:
        """The store of the Redis that the settings name."""
        return cls(connect(settings), settings)

    # -- the way of a job ------------------------------------------------------------------------------------------

    def submit(self, submission: Submission, *, ring: Ring | None = None, room: int | None = None) -> str:
        """Store a job and return its id; the same idempotency key and body give the same id. `ring` is called where no
        doorbell is on its way yet; `room` is how many bytes the disk has left for pictures, where that has a bound.
        Raises QueueFull, TooManyRequests (of this owner or sharer), JobConflict (key known with another body)."""
        (answer,) = self._stored(("submit", self._submitting(new_id(), submission, ring, room)))
        return self._accepted(answer, ring)

    def submit_and_get(
        self, submission: Submission, *, viewer: str | None, ring: Ring | None = None, room: int | None = None
    ) -> Job:
        """Store a job and return it as it then stands, as `submit` and `get` do, in one round trip."""
        own_id = new_id()
        answer, found = self._stored(
            ("submit", self._submitting(own_id, submission, ring, room)), ("look", self._looking(own_id, viewer))
        )
        job_id = self._accepted(answer, ring)
        return _job(job_id, found) if job_id == own_id else self.get(job_id, viewer=viewer)

    def _stored(self, *calls: Call) -> list[Any]:
        # Under `always` the answer itself comes after the disk.
        synced = self._settings.durability == "everysec"
        return self._scripts.call_all_synced(*calls) if synced else self._scripts.call_all(*calls)

    def _submitting(
        self, job_id: str, submission: Submission, ring: Ring | None, room: int | None
    ) -> dict[str, Argument]:
        """Arguments of the script."""
        arguments: dict[str, Argument] = {
            "id": job_id,
            "lane": submission.lane,
            "limit": self._settings.queue_limit,
            "limit_per_owner": self._settings.queue_limit_per_key,
            "options": json.dumps(submission.options.to_dict()),
            "image": json.dumps(submission.image.to_dict()),
            "image_ref": submission.image.sha256,
            "mask_ref": submission.options.mask or "",
            "owner": submission.owner,
            "idempotency": submission.idempotency_key,
            "body": submission.body_hash,
            "answer": submission.answer_key,
            "deadline_ms": _ms(self._settings.deadline_seconds),
            "retention_ms": self._retention_ms,
            "solo": submission.solo,
            "ring_ms": self._ring_ms if ring else 0,
            "webhook": submission.webhook,
            "request": submission.request_id,
            "versions": versions_text(submission.versions),
            "sharer": submission.sharer,
            "disk": submission.file_bytes,
        }
        texts = [part for part in arguments.values() if isinstance(part, str)]
        arguments["memory"] = memory_of(texts, idempotency=submission.idempotency_key)
        return arguments | present(room=room)

    def _accepted(self, answer: list[Any], ring: Ring | None) -> str:
        """The id of the job that the script has stored, or knew. Rings, and raises as `submit` does."""
        outcome, job_id, to_ring = answer
        if outcome == "full":
            raise QueueFull(f"{self._settings.queue_limit} jobs are waiting already; try again shortly")
        if outcome == "no memory":
            raise StoreUnavailable("Redis has too little memory left for new jobs; try again later")
        if refusal := over_share(outcome):
            raise refusal
        if outcome == "crowded":
            most = self._settings.queue_limit_per_key
            raise TooManyRequests(f"{most} jobs of this API key are waiting already; try again when some have ended")
        if outcome == "conflict":
            raise JobConflict("this Idempotency-Key was used before with another request body")
        if ring and to_ring:
            ring()
        return str(job_id)

    def claim(
        self, most: int, *, claim_id: str, woken: bool = False, ring: Ring | None = None, crew: str = ""
    ) -> list[Claim]:
        """Take up to `most` waiting jobs that this worker's pool takes, under a lease. The same `claim_id` returns the
        same jobs. `woken` says that this answers a doorbell, so that the next job may ring again; `ring` is called
        where more waits than was taken and no doorbell is on its way for it. Of the processes of a `crew` one is left
        to jobs that are not long; a job `is_alone` where none of the others has one."""
        arguments = self._claiming(most, claim_id, woken=woken, ring=ring, crew=crew)
        return self._claimed(self._call("claim", **arguments), ring)

    def finish_and_claim(
        self, ends: Sequence[End], most: int, *, claim_id: str, ring: Ring | None = None, crew: str = ""
    ) -> tuple[list[bool], list[Claim]]:
        """End jobs and take the next, as `finish` and `claim` do, in one round trip."""
        if not ends:
            return [], self.claim(most, claim_id=claim_id, ring=ring, crew=crew)
        finished, claimed = self._scripts.call_all(
            ("finish", self._finishing(ends)),
            ("claim", self._claiming(most, claim_id, woken=False, ring=ring, crew=crew)),
        )
        return list(map(bool, finished)), self._claimed(claimed, ring)

    def _claiming(self, most: int, claim_id: str, *, woken: bool, ring: Ring | None, crew: str) -> dict[str, Argument]:
        return {
            "most": most,
            "claim": claim_id,
            "lease_ms": self._lease_ms,
            "max_attempts": self._settings.max_attempts,
            "retention_ms": self._retention_ms,
            "woken": woken,
            "ring_ms": self._ring_ms if ring else 0,
            "models": self._pool.models,
            "lanes": self._pool.lanes,
            "crew": crew,
            "most_long": max(1, self._settings.concurrency - 1) if crew else 0,
        }

    @staticmethod
    def _claimed(answer: Any, ring: Ring | None) -> list[Claim]:
        to_ring, texts = answer
        if ring and to_ring:
            ring()
        return [_claim(json.loads(text)) for text in texts]

    def renew(self, claims: Sequence[Claim]) -> dict[str, Lease]:
        """Prolong the leases; says of each job whether work on it should go on."""
        return self._leases("renew", claims)

    def succeed(self, claim: Claim, result_ref: str, *, compute_ms: float) -> bool:
        """End a job well. False where the claim is no longer the newest: another worker has it, nothing changes."""
        return self.finish([End(claim, JobStatus.SUCCEEDED, result_ref=result_ref, compute_ms=compute_ms)])[0]

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End a running job as failed. False where the claim is no longer the job's: nothing changes."""
        return self.finish([End(claim, JobStatus.FAILED, error=error)])[0]

    def stop(self, claim: Claim, status: JobStatus) -> bool:
        """End a running job as cancelled or expired."""
        return self.finish([End(claim, status)])[0]

    def finish(self, ends: Sequence[End]) -> list[bool]:
        """End jobs, all in one call; says of each whether it applies, as `succeed` does."""
        if not ends:
            return []
        return [bool(one) for one in self._call("finish", **self._finishing(ends))]

    def _finishing(self, ends: Sequence[End]) -> dict[str, Argument]:
        return {"retention_ms": self._retention_ms, "ends": [_end(end) for end in ends]}

    def release(self, claim: Claim, *, charge: bool = False, solo: bool = False) -> bool:
        """Give a running job back to its lane, at shutdown (not charged) or for a run in a batch of one. One that was
        to be cancelled ends here."""
        return bool(self._call("release", **_held(claim), charge=charge, solo=solo, retention_ms=self._retention_ms))

    def cancel(self, job_id: str, *, operation: str = "") -> None:
        """Cancel a queued job at once, flag a running one. Raises UnknownJob, JobConflict (already terminal). The same
        `operation` once more changes nothing and is no conflict."""
        operation = operation or secrets.token_hex(8)
        outcome = self._call("cancel", id=job_id, operation=operation, retention_ms=self._retention_ms)
        if outcome == "unknown":
            raise UnknownJob("there is no job with this id")
        if outcome == "terminal":
            raise JobConflict("the job has ended already")

    def report(self, claims: Sequence[Claim], *, done: int, total: int, stage: str) -> dict[str, Lease]:
        """Say how far running jobs are, and renew their leases; says of each whether work on it should go on."""
        progress = json.dumps({"done": done, "total": total, "stage": stage})
        return self._leases("report", claims, progress=progress)

    # -- keeping ---------------------------------------------------------------------------------------------------

    def reap(self) -> int:
        """Requeue or end jobs whose worker is gone or whose time is over; how many."""
        times = {"retention_ms": self._retention_ms, "lease_ms": self._lease_ms}
        return int(self._call("reap", max_attempts=self._settings.max_attempts, **times))

    def collected(self, most: int = _COLLECTED_AT_ONCE) -> Iterator[tuple[list[str], list[str]]]:
        """Forget terminal jobs whose retention has passed, so many at a time: their ids, and the references of blobs
        that no job names any more."""
        tombstone_ms = _ms(self._settings.tombstone_seconds)
        while True:
            gone, unnamed = self._call("collect", most=most, tombstone_ms=tombstone_ms)
            yield gone, unnamed
            if len(gone) < most:
                return

    def forget(self, name: str) -> list[str]:
        """Forget a job, or a batch with its members, before its retention has passed; the references of blobs that no
        job names any more. Raises UnknownJob, and JobConflict where it has not ended or is a member of a batch."""
        outcome = self._call("expire_now", id=name)
        if outcome == "unknown":
            raise UnknownJob("there is no job and no batch with this id")
        if outcome == "active":
            raise JobConflict("it has not ended; cancel it first")
        if outcome == "member":
            raise JobConflict("the job is a member of a batch; delete the batch")
        return [ref for _, unnamed in self.collected() for ref in unnamed]

    def referenced(self, refs: Sequence[str]) -> set[str]:
        """Those of `refs` that a job still names."""
        if not refs:
            return set()
        with _answering():
            counts = cast("list[str | None]", self._redis.hmget(f"{PREFIX}blobs", list(refs)))
        return {ref for ref, count in zip(refs, counts, strict=True) if count is not None}

    def versions_named(self) -> set[tuple[str, str]]:
        """Each model with each of its versions that an unfinished job is to be answered by."""
        with _answering():
            texts = cast("list[str]", self._redis.hkeys(f"{PREFIX}versions"))
        return {pair for text in texts for pair in json.loads(text).items()}

    def waiting(self, lane: Lane) -> int:
        """How many jobs wait in a lane."""
        with _answering():
            return int(self._redis.zcard(f"{PREFIX}lane:{lane}"))

    def now_ms(self) -> int:
        """Redis's clock, in milliseconds since 1970."""
        with _answering():
            seconds, micros = self._redis.time()
        return seconds * 1000 + micros // 1000

    # -- looking ---------------------------------------------------------------------------------------------------

    def get(self, job_id: str, *, viewer: str | None = None) -> Job:
        """The job as it stands. Raises UnknownJob, also where `viewer` is not its owner; None sees every job."""
        return _job(job_id, self._call("look", **self._looking(job_id, viewer)))

    def _looking(self, job_id: str, viewer: str | None) -> dict[str, Argument]:
        """Arguments of the script."""
        return present(id=job_id, viewer=viewer, heard_ms=self._heard_ms)

    def newest(
        self, *, viewer: str | None = None, status: JobStatus | None = None, before: str | None = None, most: int = 20
    ) -> tuple[list[Job], bool]:
        """Up to `most` jobs, newest first: those that `viewer` owns (None: everybody's), of one state where given, that
        are older than the job `before`. And whether there are more. Raises UnknownJob where `before` is not to be
        seen."""
        state = status or "any"
        place = f"jobs:{state}" if viewer is None else f"owned:{state}:{viewer}"
        behind = "+inf" if before is None else f"({self._number_of(before, viewer)}"
        with _answering():
            found = self._redis.zrevrangebyscore(
                f"{PREFIX}{place}", behind, "-inf", start=0, num=most + 1, withscores=True
            )
        listed = cast("list[tuple[str, float]]", found)
        return self._jobs([job_id for job_id, _ in listed[:most]]), len(listed) > most

    def _number_of(self, job_id: str, viewer: str | None) -> str:
        """Where a job stands in the lists."""
        with _answering():
            seq, owner = cast("list[str | None]", self._redis.hmget(f"{PREFIX}job:{job_id}", "seq", "owner"))
        if seq is None or viewer not in (None, owner):
            raise UnknownJob("there is no job with this id")
        return seq

    def _jobs(self, ids: Sequence[str]) -> list[Job]:
        """Those of the jobs that are still there."""
        found = []
        for job_id in ids:
            with suppress(UnknownJob):
                found.append(self.get(job_id))
        return found

    def changes(self, job: Job) -> Changes:
        """Hears from now on whenever the job may have changed, its place in the queue included. To be closed."""
        ahead = {job.lane, Lane.INTERACTIVE}  # whose length decides about its place
        return Changes.on(self._redis, [f"{PREFIX}events:{job.id}", *(f"{PREFIX}moves:{lane}" for lane in ahead)])

    def is_collected(self, job_id: str, *, viewer: str | None = None) -> bool:
        """Whether the job existed, was the viewer's, and was forgotten after its retention."""
        with _answering():
            owner = self._redis.get(f"{PREFIX}tombstone:{job_id}")
        return owner is not None and viewer in (None, owner)

    def counts(self) -> dict[str, int]:
        """Jobs by state, and `accepted`, `collected` since the store began."""
        with _answering():
            raw = cast("dict[str, str]", self._redis.hgetall(f"{PREFIX}counts"))
        return {name: int(count) for name, count in raw.items()}

    def overview(self) -> Overview:
        """The whole store at one moment, as operators are told of it."""
        return Overview.from_json(self._call("overview", heard_ms=self._heard_ms))

    def add(self, amounts: Mapping[str, int], *, operation: str) -> None:
        """Add to the counts for operators: amounts by name, each a noun and its labels (`overview`). The same operation
        adds once."""
        self._call("add", operation=operation, amounts=dict(amounts))

    def ping(self) -> None:
        """Raises StoreUnavailable where Redis does not answer."""
        with _answering():
            self._redis.ping()

    def is_nearly_full(self) -> bool:
        """Whether Redis has too little memory left to take jobs."""
        return bool(self._call("nearly_full"))

    def server_info(self) -> dict[str, Any]:
        """What Redis says of itself (INFO)."""
        with _answering():
            return self._redis.info()

    # -- workers ---------------------------------------------------------------------------------------------------

    def heartbeat(self, name: str, *, role: Role = Role.WORKER) -> None:
        """Say that a process is here."""
        self._call("heartbeat", kind=f"{role}s", name=name)

    def leave(self, name: str) -> None:
        """Say that a process is no longer here, whatever its role was."""
        with _answering():
            for role in Role:
                self._redis.zrem(f"{PREFIX}{role}s", name)

    def heard(self, name: str) -> bool:
        """Whether this process was heard lately."""
        oldest = self._oldest_heartbeat()
        with _answering():
            scores = [self._redis.zscore(f"{PREFIX}{role}s", name) for role in Role]
        return any(score is not None and float(score) >= oldest for score in scores)

    def workers_heard(self) -> int:
        """How many workers were heard lately."""
        return self.count_heard(Role.WORKER)

    def count_heard(self, role: Role) -> int:
        """How many processes that do this were heard lately."""
        oldest = self._oldest_heartbeat()
        with _answering():
            return int(self._redis.zcount(f"{PREFIX}{role}s", oldest, "+inf"))

    def _oldest_heartbeat(self) -> float:
        """Of those that still count; in seconds of Redis's clock, since hosts may disagree."""
        return self.now_ms() / 1000 - self._settings.heartbeat_seconds

    # -- inside ----------------------------------------------------------------------------------------------------

    def _leases(self, script: str, claims: Sequence[Claim], **arguments: Argument) -> dict[str, Lease]:
        """What a script answers that renews leases, by job."""
        if not claims:
            return {}
        answers = self._call(script, lease_ms=self._lease_ms, claims=list(map(_held, claims)), **arguments)
        return {claim.id: Lease(int(answer)) for claim, answer in zip(claims, answers, strict=True)}

    def _call(self, name: str, /, **arguments: Argument) -> Any:
        return self._scripts.call(name, **arguments)


def _held(claim: Claim) -> dict[str, str]:
    """A claim, as a script is given it. The fence is compared with what Redis keeps, a text."""
    return {"id": claim.id, "fence": str(claim.fence)}


def _end(end: End) -> dict[str, Argument]:
    """The end of one job, as the script `finish` is given it."""
    return {
        **_held(end.claim),
        "status": end.status,
        "result": end.result_ref,
        "error": json.dumps(end.error.to_dict()) if end.error else "",
        "compute_ms": end.compute_ms,
        "as_asked": end.as_asked,
        "bytes": end.result_bytes,
    }


def _job(job_id: str, found: list[Any]) -> Job:
    """What the script has found. Raises UnknownJob where that is nothing."""
    if not found:
        raise UnknownJob("there is no job with this id")
    ahead, pace_ms, fields, served = found
    job = Job.from_hash(job_id, dict(zip(fields[::2], fields[1::2], strict=True)))
    if ahead is None:
        return job
    eta_seconds = (ahead + 1) * float(pace_ms or PACE_MS) / 1000
    return replace(job, position=ahead + 1, eta_seconds=round(eta_seconds, 3), served=served == 1)


def _claim(data: dict[str, Any]) -> Claim:
    return Claim(
        id=data["id"],
        fence=int(data["fence"]),
        attempt=int(data["attempt"]),
        options=JobOptions.from_dict(json.loads(data["options"])),
        image=ImageRecord(**json.loads(data["image"])),
        created_ms=int(data["created"]),
        solo=bool(data["solo"]),
        request_id=data.get("request", ""),
        versions=json.loads(data.get("versions") or "{}"),
        is_alone=data["alone"],
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
