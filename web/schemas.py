"""The contract as pydantic models: what the API takes and answers. The OpenAPI document is generated from here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.methods import METHODS

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]


class Options(BaseModel):
    """Options of a job; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    models: list[str] | None = Field(None, description="Registry names; the configured pair where absent.")
    methods: list[str] = Field(["cam"], min_length=1, max_length=8, description=f"Among {', '.join(METHODS)}.")
    target: str = Field("predicted", max_length=200, description="`predicted`, a class index or a class name.")
    contrast: str | None = Field(None, max_length=200, description="A second class, or `runner-up`.")
    tree: str = Field("auto", description="`auto`, `soft`, `hard`, `marginal` or `off`.")
    trust: str = Field("basic", description="`basic`, or `full`: adds faithfulness and stability.")


class JsonSubmission(Options):
    """The JSON form of a submission."""

    image_base64: str = Field(..., description="The picture's bytes in base64.")


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str


class Queue(BaseModel):
    position: int
    eta_seconds: float


class Progress(BaseModel):
    done: int
    total: int
    stage: str


class ErrorOut(BaseModel):
    code: str
    message: str


class ImageOut(BaseModel):
    sha256: str
    width: int
    height: int
    format: str
    filename: str


class Links(BaseModel):
    self: str
    events: str
    cancel: str
    page: str


class JobOptionsOut(BaseModel):
    models: list[str]
    methods: list[str]
    target: str
    contrast: str | None
    tree: str
    trust: str


class Warn(BaseModel):
    code: str
    params: dict[str, Any]
    text: str


class ClassOut(BaseModel):
    index: int
    name: str


class Ranked(ClassOut):
    probability: float
    logit: float


class Prediction(Ranked):
    confidence: float | None = Field(description="Calibrated; null for a model that was not calibrated.")
    top: list[Ranked]


class Exactness(BaseModel):
    bias: float
    score: float
    residual: float
    tolerance: float
    exact: bool


class MapArtifacts(BaseModel):
    raw: str
    heatmap: str
    overlay: str


class MapOut(BaseModel):
    method: str
    claim: Literal["exact", "complete", "approximate"]
    target: ClassOut
    contrast: ClassOut | None
    layer: str
    grid: list[int]
    unit: str
    artifacts: MapArtifacts
    range: list[float]
    exactness: Exactness | None
    faithfulness: dict[str, Any] | None = Field(description="With `trust=full`: deletion, insertion, percentile, text.")
    stability: dict[str, Any] | None = Field(description="With `trust=full`: rank correlations under small changes.")
    agreement: dict[str, Any] | None = Field(description="With `trust=full`: rank correlation with another method.")
    warnings: list[Warn]


class NodeOut(BaseModel):
    node: str
    name: str
    probability: float


class StepMap(BaseModel):
    """The map of one decision: the chosen child against the sibling `against`."""

    against: str
    grid: list[int]
    artifacts: MapArtifacts
    range: list[float]
    entropy_term: float
    exactness: Exactness


class Step(NodeOut):
    path_probability: float
    entropy: float
    siblings: list[NodeOut]
    map: StepMap | None


class RunnerUp(NodeOut):
    at: int
    leads_to: str


class TreeArtifacts(BaseModel):
    tree: str


class DecisionPath(BaseModel):
    mode: str
    prediction: ClassOut
    agrees_with_network: bool
    weakest: int
    runner_up: RunnerUp | None
    artifacts: TreeArtifacts
    steps: list[Step]


class ExplanationOut(BaseModel):
    model: str
    prediction: Prediction
    maps: list[MapOut]
    decision_path: DecisionPath | None
    input: dict[str, Any]


class ResultOut(BaseModel):
    explanations: list[ExplanationOut]
    provenance: dict[str, Any]
    timings: dict[str, float]
    warnings: list[Warn]


class JobOut(BaseModel):
    """A job, whatever its state."""

    id: str
    status: Status
    created_at: str
    started_at: str | None
    finished_at: str | None
    queue: Queue | None
    progress: Progress | None
    attempts: int
    cached: bool
    options: JobOptionsOut
    image: ImageOut
    error: ErrorOut | None
    result: ResultOut | None
    links: Links


class BatchOptions(Options):
    """Options of every member of a batch."""


class BatchProgress(BaseModel):
    done: int
    total: int


class BatchLinks(BaseModel):
    self: str
    members: str
    failed: str
    cancel: str
    pause: str
    resume: str
    retry: str


class BatchOut(BaseModel):
    """A batch, whatever its state. `counts` are its members by state."""

    id: str
    status: Literal["filling", "running", "paused", "finished", "cancelled"]
    name: str = Field(description="The archive's name; empty for pictures sent one by one.")
    created_at: str
    finished_at: str | None
    total: int
    counts: dict[Status, int]
    progress: BatchProgress
    eta_seconds: float | None = Field(description="At the pace of the last members; null where nobody can say.")
    options: JobOptionsOut
    links: BatchLinks


class CellsOut(BaseModel):
    """A raw map: its cells row by row, little-endian float32 in base64."""

    shape: list[int]
    float32: str


class MemberOut(JobOut):
    """One member: a job, and its place in the batch."""

    place: int
    maps: dict[str, CellsOut] | None = Field(None, description="With `maps=true`: every raw map by its name.")


class MemberPageOut(BaseModel):
    members: list[MemberOut]
    next: str | None = Field(description="Address of the page that follows; null at the end.")


class ModelOut(BaseModel):
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


class ModelList(BaseModel):
    models: list[ModelOut]


class Health(BaseModel):
    status: str


class JobPath(BaseModel):
    job_id: str


class BatchPath(BaseModel):
    batch_id: str


class MemberQuery(BaseModel):
    """Which members are shown."""

    status: Status | None = Field(None, description="Only those in this state.")
    limit: int = Field(50, ge=1, le=100, description="How many at most; a page may hold fewer before the end.")
    cursor: int = Field(0, ge=0, description="Where the page begins, as `next` of the page before says.")
    maps: bool = Field(False, description="Adds every raw map.")


class ArtifactPath(JobPath):
    name: str


class DrawingQuery(BaseModel):
    """How a picture is drawn; ignored for raw maps."""

    colormap: str = Field("inferno", description="`inferno`, `viridis` or `jet`; contrasts have colours of their own.")
    alpha: float = Field(0.6, description="Opacity of the strongest evidence in an overlay, 0 to 1.")
    width: int | None = Field(None, description="Width of the picture in pixels, 16 to 1024.")
    bar: bool = Field(False, description="Adds a colour bar below: its numbers, their unit, and whose scale it is.")
    scale: float | None = Field(
        None,
        description="The value at the top of the scale, in the map's unit, for pictures that shall share one scale. "
        "By default each map is scaled to its own maximum.",
    )
    box: float | None = Field(
        None, description="Outlines the strongest region: where the map is at least this share of its maximum, 0 to 1."
    )
