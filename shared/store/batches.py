"""Batches: many pictures under one set of options. Each member is a job of the bulk lane; the record counts them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from shared.errors import JobConflict, QueueFull, UnknownJob
from shared.jobs import ImageRecord, Job, JobError, JobOptions, JobStatus, versions_text
from shared.settings import Settings
from shared.store.connection import Argument, Scripts, present
from shared.store.ids import new_id
from shared.store.shares import memory_of, over_share

_NAMES = ("batch_create", "batch_enlist", "batch_get", "batch_members", "batch_retry", "batch_set")
CHUNK = 50  # members that one call stores: a call holds up all others, and an answer needs a dozen of them


class BatchStatus(StrEnum):
    """`filling` while its members are being stored; `finished` where every member has ended."""

    FILLING = "filling"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Member:
    """One picture to come. `error` is why it cannot be explained: such a member fails at once, alone."""

    image: ImageRecord
    answer_key: str = ""
    solo: bool = False
    error: JobError | None = None
    file_bytes: int = 0  # of its picture


@dataclass(frozen=True)
class Batch:
    """A batch as the store keeps it: `counts` of its members by state, `pace_ms` from one member's end to the next."""

    id: str
    status: BatchStatus
    name: str
    owner: str
    options: JobOptions
    total: int
    counts: Mapping[JobStatus, int]
    created_ms: int
    finished_ms: int | None
    pace_ms: float | None

    @property
    def ended(self) -> int:
        """Members in a terminal state."""
        return sum(count for status, count in self.counts.items() if status.is_terminal)

    @property
    def eta_seconds(self) -> float | None:
        """When all will have ended at the pace of the last members; None where nobody can say."""
        if self.status is BatchStatus.FINISHED:
            return 0.0
        if self.pace_ms is None or self.status is not BatchStatus.RUNNING:
            return None
        return round((self.total - self.ended) * self.pace_ms / 1000, 3)

    @classmethod
    def from_hash(cls, batch_id: str, data: Mapping[str, str]) -> Batch:
        """Build the record from the fields of its Redis hash."""
        counts = {status: int(data.get(status, 0)) for status in JobStatus}
        status = BatchStatus(data["status"])
        alive = counts[JobStatus.QUEUED] + counts[JobStatus.RUNNING]
        if alive == 0 and status in (BatchStatus.RUNNING, BatchStatus.PAUSED):
            status = BatchStatus.FINISHED
        return cls(
            id=batch_id,
            status=status,
            name=data["name"],
            owner=data["owner"],
            options=JobOptions.from_dict(json.loads(data["options"])),
            total=int(data["total"]),
            counts=counts,
            created_ms=int(data["created"]),
            finished_ms=int(data["finished"]) if alive == 0 and "finished" in data else None,
            pace_ms=float(data["pace"]) if "pace" in data else None,
        )


@dataclass(frozen=True)
class MemberPage:
    """Some members in order, each with its place in the batch; `next` is where to go on, None at the end."""

    members: Sequence[tuple[int, Job]]
    next: int | None


class BatchStore:
    """Batches in the job store. Every method raises StoreUnavailable where Redis does not answer."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._scripts = Scripts(client, _NAMES)
        self._deadline_ms = round(settings.batch_deadline_seconds * 1000)
        self._retention_ms = round(settings.retention_seconds * 1000)

    def submit(
        self,
        members: Sequence[Member],
        options: JobOptions,
        *,
        name: str = "",
        owner: str = "",
        idempotency_key: str = "",
        body_hash: str = "",
        request_id: str = "",
        versions: Mapping[str, str] | None = None,
        sharer: str = "",
        room: int | None = None,
    ) -> str:
        """Store a batch and let it run; returns its id. The same idempotency key and body give the same batch. Members
        that ask the same question are computed once, all by these `versions`; they take the sharer's turns. `room`
        is how many bytes the disk has left for pictures, where that has a bound. Raises QueueFull, TooManyRequests
        (of this sharer), and JobConflict (key known with another body)."""
        common = {
            "options": json.dumps(options.to_dict()),
            "owner": owner,
            "request": request_id,
            "versions": versions_text(versions or {}),
            "sharer": sharer,
        }
        texts = [_texts(member) for member in members]
        memory = [memory_of((*common.values(), *own.values())) for own in texts]
        # The record of the batch is about as large as a job's.
        record = memory_of((*common.values(), name, idempotency_key), idempotency=idempotency_key)
        outcome, batch_id = self._scripts.call(
            "batch_create",
            id=new_id(),
            name=name,
            total=len(members),
            idempotency=idempotency_key,
            body=body_hash,
            memory=record + sum(memory),
            disk=sum(member.file_bytes for member in members),
            **common,
            **present(room=room),
        )
        if outcome == "full":
            raise QueueFull("the memory for waiting jobs is used up; try again when other batches have ended")
        if refusal := over_share(outcome):
            raise refusal
        if outcome == "conflict":
            raise JobConflict("this Idempotency-Key was used before with another request body")
        self._enlist(str(batch_id), _newcomers(members, texts, memory))
        self._set(batch_id, "open")
        return str(batch_id)

    def _enlist(self, batch_id: str, members: Sequence[Mapping[str, Argument]]) -> None:
        """Store the members, some at a time."""
        times = {"deadline_ms": self._deadline_ms, "retention_ms": self._retention_ms}
        for first in range(0, len(members), CHUNK):
            some = members[first : first + CHUNK]
            self._scripts.call("batch_enlist", batch=batch_id, first=first, members=some, **times)

    def get(self, batch_id: str, *, viewer: str | None = None) -> Batch:
        """The batch as it stands. Raises UnknownJob, also where `viewer` is not its owner; None sees every batch."""
        fields = _pairs(self._scripts.call("batch_get", batch=batch_id))
        if not fields or viewer not in (None, fields["owner"]):
            raise UnknownJob("there is no batch with this id")
        return Batch.from_hash(batch_id, fields)

    def members(
        self, batch_id: str, *, start: int = 0, most: int = 100, statuses: Sequence[JobStatus] = ()
    ) -> MemberPage:
        """Up to `most` members from place `start` on, in order; only those in one of `statuses`, where some are given.
        A page may be short, or empty, before the end: `next` says whether there is more."""
        place, *found = self._scripts.call("batch_members", batch=batch_id, first=start, most=most, states=statuses)
        places, ids, hashes = found[::3], found[1::3], found[2::3]
        jobs = [Job.from_hash(job_id, _pairs(fields)) for job_id, fields in zip(ids, hashes, strict=True)]
        total = self.get(batch_id).total
        return MemberPage(list(zip(map(int, places), jobs, strict=True)), int(place) if int(place) < total else None)

    def cancel(self, batch_id: str, *, operation: str = "") -> None:
        """Cancel whoever waits, tell whoever runs. Raises UnknownJob, JobConflict (all have ended). The same
        `operation` once more changes nothing and is no conflict."""
        self._change(batch_id, "cancel", operation)

    def pause(self, batch_id: str) -> None:
        """Let no member begin; those that run go on. Raises UnknownJob, JobConflict (all have ended)."""
        self._change(batch_id, "pause")

    def resume(self, batch_id: str) -> None:
        """Let a paused batch go on. Raises UnknownJob, JobConflict (all have ended)."""
        self._change(batch_id, "resume")

    def retry(self, batch_id: str, *, versions: Mapping[str, str] | None = None) -> int:
        """Put a new job in the place of every member that failed or expired, but for pictures that cannot be decoded;
        how many. It is answered by these `versions` of the models. Raises UnknownJob."""
        counts = self.get(batch_id).counts
        ids = [new_id() for _ in range(counts[JobStatus.FAILED] + counts[JobStatus.EXPIRED])]
        retried = self._scripts.call(
            "batch_retry",
            batch=batch_id,
            operation=secrets.token_hex(8),
            deadline_ms=self._deadline_ms,
            retention_ms=self._retention_ms,
            versions=versions_text(versions or {}),
            ids=ids,
        )
        return int(retried)

    def _change(self, batch_id: str, what: str, operation: str = "") -> None:
        outcome = self._set(batch_id, what, operation)
        if outcome == "unknown":
            raise UnknownJob("there is no batch with this id")
        if outcome == "ended":
            raise JobConflict("the batch has ended already")

    def _set(self, batch_id: str, what: str, operation: str = "") -> str:
        operation = operation or secrets.token_hex(8)
        outcome = self._scripts.call(
            "batch_set", batch=batch_id, what=what, operation=operation, retention_ms=self._retention_ms
        )
        return str(outcome)


def _newcomers(
    members: Sequence[Member], texts: Sequence[Mapping[str, str]], memory: Sequence[int]
) -> list[dict[str, Argument]]:
    """What the store keeps of each member; `memory` is what it takes of Redis's, in bytes. Of those that ask the same
    question the first leads the others."""
    leaders: dict[str, str] = {}
    found: list[dict[str, Argument]] = []
    for member, own, taken in zip(members, texts, memory, strict=True):
        job_id, leader = new_id(), leaders.get(member.answer_key, "")
        if member.answer_key:
            leaders.setdefault(member.answer_key, job_id)
        found.append(
            {"id": job_id, **own, "solo": member.solo, "leader": leader, "memory": taken, "disk": member.file_bytes}
        )
    return found


def _texts(member: Member) -> dict[str, str]:
    """What the store keeps of a member in texts. The file of one that cannot be explained is not kept."""
    return {
        "image": json.dumps(member.image.to_dict()),
        "image_ref": "" if member.error else member.image.sha256,
        "answer": member.answer_key,
        "error": json.dumps(member.error.to_dict()) if member.error else "",
    }


def _pairs(fields: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(fields[::2], fields[1::2], strict=True))
