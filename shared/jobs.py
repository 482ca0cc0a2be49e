"""The job record: its states, its options, and what a worker is handed when it claims one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


# Why a job failed, by the contract.
ERROR_CODES = ("invalid_image", "model_unavailable", "timeout", "out_of_memory", "worker_lost", "storage", "internal")


class Lane(StrEnum):
    """Where a job waits. Interactive jobs are claimed first; a share of the claims is kept for bulk."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


@dataclass(frozen=True)
class JobOptions:
    """What is asked of the models. `target` and `contrast` are the user's words: a class name, an index, a keyword.

    A what-if hides the part of the picture that is white in `mask` (a blob) under `fill`, and is compared with the
    result of the job `parent`.
    """

    models: tuple[str, ...]
    methods: tuple[str, ...] = ("cam",)
    target: str = "predicted"
    contrast: str | None = None
    tree: str = "auto"
    trust: str = "basic"
    mask: str | None = None
    fill: str = "blur"
    parent: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return vars(self) | {"models": list(self.models), "methods": list(self.methods)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobOptions:
        return cls(**{**data, "models": tuple(data["models"]), "methods": tuple(data["methods"])})


@dataclass(frozen=True)
class ImageRecord:
    """The uploaded picture: the hash of its bytes and what its header says."""

    sha256: str
    width: int
    height: int
    format: str
    filename: str

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code of the contract and one sentence that a user may read."""

    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class Job:
    """One job as the store keeps it. Times are milliseconds since the epoch, by Redis's clock."""

    id: str
    status: JobStatus
    lane: Lane
    options: JobOptions
    image: ImageRecord
    created_ms: int
    started_ms: int | None = None
    finished_ms: int | None = None
    attempts: int = 0
    cached: bool = False
    result_ref: str | None = None
    error: JobError | None = None
    position: int | None = None
    eta_seconds: float | None = None
    served: bool = True  # False while it waits and no worker is here that takes it
    progress: Mapping[str, Any] | None = None

    @classmethod
    def from_hash(cls, job_id: str, data: Mapping[str, str]) -> Job:
        """Build the record from the fields of its Redis hash."""
        return cls(
            id=job_id,
            status=JobStatus(data["status"]),
            lane=Lane(data["lane"]),
            options=JobOptions.from_dict(json.loads(data["options"])),
            image=ImageRecord(**json.loads(data["image"])),
            created_ms=int(data["created"]),
            started_ms=_optional_int(data.get("started")),
            finished_ms=_optional_int(data.get("finished")),
            attempts=int(data.get("attempts", 0)),
            cached=data.get("cached") == "1",
            result_ref=data.get("result") or None,
            error=JobError(**json.loads(data["error"])) if data.get("error") else None,
            progress=json.loads(data["progress"]) if data.get("progress") else None,
        )


@dataclass(frozen=True)
class Claim:
    """One claimed job: the right to finish it lasts while the lease is renewed and the fence is the newest."""

    id: str
    fence: int
    attempt: int
    options: JobOptions
    image: ImageRecord
    created_ms: int
    solo: bool = field(default=False)  # runs in a batch of one: a long job, or one that was in trouble before
    request_id: str = ""  # of the request that brought it
    versions: Mapping[str, str] = field(
        default_factory=dict
    )  # fingerprints of its models when it was accepted, by name


def versions_text(versions: Mapping[str, str]) -> str:
    """The versions of a job's models as the store keeps and counts them; empty where it is to take what is current."""
    return json.dumps(versions, sort_keys=True) if versions else ""


def rfc3339(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _optional_int(text: str | None) -> int | None:
    return int(text) if text else None
