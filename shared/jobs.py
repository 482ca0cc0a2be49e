"""The job record: its states, its options, and what a worker is handed when it claims one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, cast, overload

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as record
from pydantic.fields import FieldInfo

from shared.cards.methods import METHODS


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the state is final."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


TERMINAL = tuple(status for status in JobStatus if status.is_terminal)

# Why a job failed, by the contract.
ERROR_CODES = ("invalid_image", "model_unavailable", "timeout", "out_of_memory", "worker_lost", "storage", "internal")


class Lane(StrEnum):
    """Where a job waits. Interactive jobs are claimed first; a share of the claims is kept for bulk."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


TREES = ("auto", "soft", "hard", "marginal", "off")
TRUSTS = ("basic", "full")
FILLS = ("blur", "mean", "grey")
PREDICTED = "predicted"
LONGEST_WORD = 200  # characters of a name or keyword that a user gives


def _choice(values: tuple[str, ...], text: str) -> Any:
    """An option with one of some values, the first of them by default."""
    return Field(default=values[0], description=text, json_schema_extra={"enum": list(values)})


def _names(text: str, *, most: int, values: tuple[str, ...] = ()) -> Any:
    """An option with several names."""
    item: dict[str, Any] = {"type": "string", "maxLength": LONGEST_WORD} | ({"enum": list(values)} if values else {})
    return Field(default=(), max_length=most, description=text, json_schema_extra={"items": item})


OPTIONS = ConfigDict(extra="forbid", coerce_numbers_to_str=True)  # of requests: a class may be given by its number


@record(frozen=True, config=OPTIONS)
class CommonOptions:
    """What may be asked about an image, and about all images of a batch. This is the one description of the options:
    API, forms, command line and client follow it."""

    models: tuple[Annotated[str, Field(max_length=LONGEST_WORD)], ...] = _names(
        "Names of models; by default the configured classifier and tree model.", most=20
    )
    methods: tuple[str, ...] = _names(
        "How pixels are weighed; by default the best that each model can do.", most=len(METHODS), values=METHODS
    )
    target: str = Field(
        default=PREDICTED,
        max_length=LONGEST_WORD,
        description="What to explain: a class by name or index, a node of the tree by name or id, `predicted`, or "
        "`sure` (the sure answer).",
    )
    contrast: str | None = Field(
        default=None,
        max_length=LONGEST_WORD,
        description="What the target is compared with: a second class or node, `runner-up` (the best class beside the "
        "target) or `sure`.",
    )
    tree: str = _choice(TREES, "How the tree decides.")
    trust: str = _choice(TRUSTS, "With `full`, the faithfulness and the stability of each map are measured.")

    def common(self) -> dict[str, Any]:
        """These options by their names."""
        return {name: getattr(self, name) for name in option_fields(CommonOptions)}


@record(frozen=True, config=OPTIONS)
class WhatIfOptions:
    """What else may be asked about a single image: what if a part of it were hidden?"""

    fill: str = _choice(FILLS, "What the part hidden by a mask becomes.")
    parent: str | None = Field(
        default=None,
        max_length=100,
        description="Id of a succeeded job about the same image; the result then has the differences from it.",
    )


@record(frozen=True, config=ConfigDict(extra="forbid"))
class JobOptions(WhatIfOptions, CommonOptions):
    """What is asked of the models. `target` and `contrast` are the user's words: a class name, an index, a keyword.

    A what-if hides the part of the image that is white in `mask` under `fill`, and is compared with the result of the
    job `parent`.
    """

    mask: str | None = Field(default=None, description="SHA-256 of the mask.")

    def to_dict(self) -> dict[str, Any]:
        """The options with JSON's types."""
        return asdict(self) | {"models": list(self.models), "methods": list(self.methods)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobOptions:
        """Reads what `to_dict` writes. Raises ValidationError where a value is not allowed."""
        return cls(**data)


def option_fields(options: type[CommonOptions] | type[WhatIfOptions]) -> dict[str, FieldInfo]:
    """What is declared of each option, by its name."""
    found: dict[str, FieldInfo] = cast("Any", options).__pydantic_fields__  # which pydantic does not type
    return found


LISTS = tuple(name for name, option in option_fields(JobOptions).items() if option.default == ())
"""Options with several values."""


def singular(name: str) -> str:
    """What one value of an option is called: model, where the option is models."""
    return name.removesuffix("s") if name in LISTS else name


def choices_of(option: FieldInfo) -> tuple[str, ...]:
    """The values that an option may have; none where it is free."""
    extra = option.json_schema_extra if isinstance(option.json_schema_extra, dict) else {}
    items = extra.get("items")
    values = items.get("enum") if isinstance(items, dict) else extra.get("enum")
    return tuple(map(str, values)) if isinstance(values, list) else ()


@dataclass(frozen=True)
class ImageRecord:
    """The uploaded picture: the hash of its bytes and what its header says."""

    sha256: str
    width: int
    height: int
    format: str
    filename: str

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code of the contract and one sentence that a user may read."""

    code: str
    message: str

    def to_dict(self) -> dict[str, str]:
        """The fields by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class JobProgress:
    """How far a running job is: `done` of `total` steps of the stage that is named."""

    done: int
    total: int
    stage: str


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
    progress: JobProgress | None = None

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
            progress=JobProgress(**json.loads(data["progress"])) if data.get("progress") else None,
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
    is_alone: bool = True  # no other process of the worker had a job when it was claimed


def versions_text(versions: Mapping[str, str]) -> str:
    """The versions of a job's models as the store keeps and counts them; empty where it is to take what is current."""
    return json.dumps(versions, sort_keys=True) if versions else ""


@overload
def rfc3339(milliseconds: int) -> str: ...
@overload
def rfc3339(milliseconds: int | None) -> str | None: ...
def rfc3339(milliseconds: int | None) -> str | None:
    """A time in milliseconds since the epoch, as in 2026-11-30T16:00:00.000Z; None of None."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _optional_int(text: str | None) -> int | None:
    return int(text) if text else None
