"""Batches: many pictures under one set of options. Each member is a job of the bulk lane; the record counts them."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from shared.errors import JobConflict, QueueFull, UnknownJob
from shared.jobs import ImageRecord, Job, JobError, JobOptions, JobStatus, versions_text
from shared.settings import Settings
from shared.store.connection import Scripts
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
        seconds = (settings.batch_deadline_seconds, settings.retention_seconds)
        self._times = tuple(round(one * 1000) for one in seconds)

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
        room: int = sys.maxsize,
    ) -> str:
        """Store a batch and let it run; returns its id. The same idempotency key and body give the same batch. Members
        that ask the same question are computed once, all by these `versions`; they take the sharer's turns. `room`
        is how many bytes the disk has left for pictures. Raises QueueFull, TooManyRequests (of this sharer), and
        JobConflict (key known with another body)."""
        texts = (json.dumps(options.to_dict()), owner, request_id, versions_text(versions or {}), sharer)
        memory = [memory_of((*texts, *_texts(member))) for member in members]
        record = memory_of((*texts, name, idempotency_key), idempotency=idempotency_key)  # about as large as a job's
        outcome, batch_id = self._scripts.call(
            "batch_create",
            new_id(),
            owner,
            name,
            json.dumps(options.to_dict()),
            len(members),
            idempotency_key,
            body_hash,
            record + sum(memory),
            request_id,
            versions_text(versions or {}),
            sharer,
            sum(member.file_bytes for member in members),
            room,
        )
        if outcome == "full":
            raise QueueFull("the memory for waiting jobs is used up; try again when other batches have ended")
        if refusal := over_share(outcome):
            raise refusal
        if outcome == "conflict":
            raise JobConflict("this Idempotency-Key was used before with another request body")
        self._enlist(str(batch_id), members, memory)
        self._set(batch_id, "open")
        return str(batch_id)

    def _enlist(self, batch_id: str, members: Sequence[Member], memory: Sequence[int]) -> None:
        """Store the members, some at a time; `memory` is what each takes of Redis's, in bytes."""
        job_ids = [new_id() for _ in members]
        leaders: dict[str, str] = {}
        for start in range(0, len(members), CHUNK):
            parts: list[object] = []
            chunk = slice(start, start + CHUNK)
            for job_id, member, taken in zip(job_ids[chunk], members[chunk], memory[chunk], strict=True):
                parts += [job_id, *_fields(member), leaders.get(member.answer_key, ""), taken, member.file_bytes]
                if member.answer_key:
                    leaders.setdefault(member.answer_key, job_id)
            self._scripts.call("batch_enlist", batch_id, start, *self._times, *parts)

    def get(self, batch_id: str, *, viewer: str | None = None) -> Batch:
        """The batch as it stands. Raises UnknownJob, also where `viewer` is not its owner; None sees every batch."""
        fields = _pairs(self._scripts.call("batch_get", batch_id))
        if not fields or viewer not in (None, fields["owner"]):
            raise UnknownJob("there is no batch with this id")
        return Batch.from_hash(batch_id, fields)

    def members(
        self, batch_id: str, *, start: int = 0, most: int = 100, statuses: Sequence[JobStatus] = ()
    ) -> MemberPage:
        """Up to `most` members from place `start` on, in order; only those in one of `statuses`, where some are given.
        A page may be short, or empty, before the end: `next` says whether there is more."""
        place, *found = self._scripts.call("batch_members", batch_id, start, most, *statuses)
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
        text = versions_text(versions or {})
        return int(self._scripts.call("batch_retry", batch_id, secrets.token_hex(8), *self._times, text, *ids))

    def _change(self, batch_id: str, what: str, operation: str = "") -> None:
        outcome = self._set(batch_id, what, operation)
        if outcome == "unknown":
            raise UnknownJob("there is no batch with this id")
        if outcome == "ended":
            raise JobConflict("the batch has ended already")

    def _set(self, batch_id: str, what: str, operation: str = "") -> str:
        return str(self._scripts.call("batch_set", batch_id, what, operation or secrets.token_hex(8), self._times[1]))


def _fields(member: Member) -> tuple[object, ...]:
    """What the store keeps of a member."""
    image, kept, answer_key, error = _texts(member)
    return image, kept, answer_key, int(member.solo), error


def _texts(member: Member) -> tuple[str, str, str, str]:
    """Its image, the reference of its file, its answer key and its error. The file of one that cannot be explained is
    not kept."""
    error = json.dumps(member.error.to_dict()) if member.error else ""
    return json.dumps(member.image.to_dict()), "" if member.error else member.image.sha256, member.answer_key, error


def _pairs(fields: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(fields[::2], fields[1::2], strict=True))
