"""The contract as pydantic models: what the API takes and answers. The OpenAPI document is generated from here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as record

from shared.answer.record import Described
from shared.documents import JobDocument, JobSummary
from shared.jobs import OPTIONS, CommonOptions, JobOptions, JobStatus, WhatIfOptions
from shared.outbound.addresses import LONGEST_ADDRESS
from shared.store.batches import BatchStatus
from shared.store.fetches import FetchState


@record(frozen=True, config=OPTIONS)
class JobForm(WhatIfOptions, CommonOptions):
    """What a form says beside its files; unknown names are refused."""

    webhook: str | None = Field(
        default=None,
        max_length=LONGEST_ADDRESS,
        description="An http or https address to post the ended job to, signed; where the operator has set a secret.",
    )


@record(frozen=True, config=OPTIONS)
class JsonSubmission(JobForm):
    """The JSON form of a submission."""

    image_base64: str | None = Field(
        default=None,
        description="The image's bytes in base64. Needed unless `parent` is given, whose image is then taken.",
    )
    image_url: str | None = Field(
        default=None,
        max_length=LONGEST_ADDRESS,
        description="An http or https address of the image instead, where the operator has switched fetching on.",
    )
    mask_base64: str | None = Field(
        default=None, description="A PNG of the image's size in base64, white where the image is to be hidden."
    )


class Problem(Described):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class JobPageOut(Described):
    jobs: list[JobSummary]
    next: str | None = Field(description="Address of the page that follows; null at the end.")


class ListQuery(Described):
    """Which jobs are listed."""

    status: JobStatus | None = Field(None, description="Only those in this state.")
    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(None, max_length=100, description="Where the page begins, as `next` says.")


class BatchProgress(Described):
    done: int
    total: int


class BatchLinks(Described):
    self: str
    members: str
    failed: str
    cancel: str
    pause: str
    resume: str
    retry: str
    report: str
    csv: str
    zip: str


class BatchOut(Described):
    """A batch, whatever its state. `counts` are its members by state."""

    id: str
    status: BatchStatus
    name: str = Field(description="The archive's name; empty for pictures sent one by one.")
    created_at: str
    finished_at: str | None
    total: int
    counts: dict[JobStatus, int]
    progress: BatchProgress
    eta_seconds: float | None = Field(description="At the pace of the last members; null where nobody can say.")
    options: JobOptions
    links: BatchLinks


class CellsOut(Described):
    """A raw map: its cells row by row, little-endian float32 in base64."""

    shape: list[int]
    float32: str


class MemberOut(JobDocument):
    """One member: a job, and its place in the batch."""

    place: int
    maps: dict[str, CellsOut] | None = Field(None, description="With `maps=true`: every raw map by its name.")


class MemberPageOut(Described):
    members: list[MemberOut]
    next: str | None = Field(description="Address of the page that follows; null at the end.")


class FetchOut(Described):
    """A fetch of an upstream model: bytes received, bytes in all where upstream says so, and why it failed."""

    state: FetchState
    done: int
    total: int | None
    error: str | None


class ModelPath(Described):
    name: str


class ModelOut(Described):
    name: str
    title: str
    ready: bool
    reason: str | None
    remedy: str | None
    default: bool
    architecture: str
    class_count: int
    classes: list[str]
    methods: list[str]
    tree_modes: list[str]
    tree_supervised: bool
    weights_sha256: str
    facts: dict[str, Any]
    fetch: FetchOut | None = Field(
        description="How far the last fetch of a model is that is not ready; told to the operator."
    )


class ModelList(Described):
    models: list[ModelOut]


class Health(Described):
    status: str


class JobPath(Described):
    job_id: str


class BatchPath(Described):
    batch_id: str


class ReportPath(BatchPath):
    kind: Literal["html", "csv", "zip"]


class MemberQuery(Described):
    """Which members are shown."""

    status: JobStatus | None = Field(None, description="Only those in this state.")
    limit: int = Field(50, ge=1, le=100, description="How many at most; a page may hold fewer before the end.")
    cursor: int = Field(0, ge=0, le=10**9, description="Where the page begins, as `next` of the page before says.")
    maps: bool = Field(False, description="Adds every raw map.")


class ArtifactPath(JobPath):
    name: str


class DrawingQuery(Described):
    """How a picture is drawn; ignored for raw maps."""

    colormap: Literal["inferno", "viridis", "jet"] = Field(
        "inferno", description="Of maps that explain one class; contrasts have colours of their own."
    )
    alpha: float = Field(0.6, ge=0, le=1, description="Opacity of the strongest evidence in an overlay.")
    width: int | None = Field(None, ge=16, le=1024, description="Width of the picture in pixels.")
    bar: bool = Field(False, description="Adds a colour bar below: its numbers, their unit, and whose scale it is.")
    scale: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="The value at the top of the scale, in the map's unit, for pictures that shall share one scale. "
        "By default each map is scaled to its own maximum.",
    )
    box: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Outlines the strongest region: at least this share of the map's maximum.",
    )
