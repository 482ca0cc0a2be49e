"""The contract as pydantic models: what the API takes and answers. The OpenAPI document is generated from here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.addresses import LONGEST_ADDRESS
from shared.methods import METHODS
from shared.options import TREES, TRUSTS
from shared.verdicts import Level

Status = Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"]


class Options(BaseModel):
    """Options of a job; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)

    models: list[Annotated[str, Field(max_length=200)]] | None = Field(
        None, max_length=20, description="Registry names; the configured pair where absent."
    )
    methods: list[Annotated[str, Field(json_schema_extra={"enum": list(METHODS)})]] | None = Field(
        None,
        min_length=1,
        max_length=len(METHODS),
        description="How the maps are made; where absent, the best that each model can do.",
    )
    target: str = Field(
        "predicted",
        max_length=200,
        description="`predicted`, `sure` (the sure answer), a class index or name, or a tree node by id or name.",
    )
    contrast: str | None = Field(
        None,
        max_length=200,
        description="A second class or node, `runner-up` (the best class beside the target) or `sure`.",
    )
    tree: str = Field("auto", description="How the decision path is walked.", json_schema_extra={"enum": list(TREES)})
    trust: str = Field(
        "basic", description="`full` adds faithfulness and stability.", json_schema_extra={"enum": list(TRUSTS)}
    )


class JobForm(Options):
    """What a form says beside its files."""

    fill: Literal["blur", "mean", "grey"] = Field("blur", description="What the part hidden by a mask becomes.")
    parent: str | None = Field(
        None,
        max_length=100,
        description="Id of a succeeded job about the same picture; the result then carries the differences from it.",
    )
    webhook: str | None = Field(
        None,
        max_length=LONGEST_ADDRESS,
        description="An http or https address to post the ended job to, signed; where the operator has set a secret.",
    )


class JsonSubmission(JobForm):
    """The JSON form of a submission."""

    image_base64: str | None = Field(
        None, description="The picture's bytes in base64. Needed unless `parent` is given, whose picture is then taken."
    )
    image_url: str | None = Field(
        None,
        max_length=LONGEST_ADDRESS,
        description="An http or https address of the picture instead, where the operator has switched fetching on.",
    )
    mask_base64: str | None = Field(
        None, description="A PNG of the picture's size in base64, white where the picture is to be hidden."
    )


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
    reason: str | None = Field(description="Why nobody is about to take the job; null where somebody is.")


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
    bundle: str


class JobOptionsOut(BaseModel):
    models: list[str]
    methods: list[str]
    target: str
    contrast: str | None
    tree: str
    trust: str
    mask: str | None = Field(description="SHA-256 of the mask.")
    fill: str
    parent: str | None


class Warn(BaseModel):
    code: str
    params: dict[str, Any]
    text: str


_SHORT_NAME = Field(None, description="As people say it; null in a result of an earlier version.")


class ClassOut(BaseModel):
    index: int
    name: str


class GroupOut(BaseModel):
    """A class, or all classes below a node of the tree."""

    index: int | None = Field(description="Of the class; null for a node with several classes below it.")
    name: str
    node: str | None = Field(None, description="Its node in the tree; null for a model without one.")


class SureOut(BaseModel):
    """The sure answer: the deepest node of the tree that still holds a probability of `at`."""

    node: str
    name: str
    short_name: str | None = _SHORT_NAME
    probability: float
    index: int | None = Field(description="Of the class, where it is a single one.")
    class_count: int = Field(description="Classes below the node.")
    is_root: bool = Field(description="Whether it is the root: the model vouches for nothing.")
    at: float


class VerdictOut(BaseModel):
    """What to make of the answer. The first reason is the one that the text says."""

    level: Level
    reasons: list[str]
    params: dict[str, Any]
    text: str


class AgreementOut(BaseModel):
    """What the answers of two models say of each other; the one with more classes is named first."""

    models: list[str]
    relation: str
    code: str
    params: dict[str, Any]
    text: str


class Ranked(ClassOut):
    short_name: str | None = _SHORT_NAME
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
    backward_error: float | None = Field(None, description="Null in a result of an earlier version.")
    exact: bool


class MapArtifacts(BaseModel):
    raw: str
    heatmap: str
    overlay: str


class MapOut(BaseModel):
    method: str
    claim: Literal["exact", "complete", "approximate"]
    target: GroupOut
    contrast: GroupOut | None
    layer: str
    grid: list[int]
    unit: str
    artifacts: MapArtifacts
    range: list[float]
    entropy_term: float | None = Field(
        None, description="The part of the score that has no place in the image, in nats."
    )
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
    weakest: int = Field(description="The least probable step, counted from 0.")
    weak_below: float | None = Field(
        None, description="A step less probable than this is weak. Null in a result of an earlier version."
    )
    runner_up: RunnerUp | None
    artifacts: TreeArtifacts
    steps: list[Step]


class ExplanationArtifacts(BaseModel):
    logits: str | None = Field(None, description="All the model's logits, as .npy.")


class ExplanationOut(BaseModel):
    model: str
    artifacts: ExplanationArtifacts
    prediction: Prediction
    sure: SureOut | None = Field(None, description="Null for a model without a tree.")
    verdict: VerdictOut | None = Field(None, description="Null where an earlier version answered.")
    maps: list[MapOut]
    decision_path: DecisionPath | None
    input: dict[str, Any]


class ClassShare(ClassOut):
    probability: float


class PredictionDifference(BaseModel):
    changed: bool
    before: ClassShare
    after: ClassShare


class ClassDifference(ClassOut):
    """A class among the best five of either answer; null where an earlier version did not store its probability."""

    before: float | None
    after: float | None


class MapDifference(BaseModel):
    method: str
    same_target: bool = Field(description="Whether both maps are of the same class and contrast.")
    correlation: float | None = Field(description="Rank correlation, -1 to 1; null where a map is constant.")
    shift: list[float] | None = Field(
        description="How far the centre of the positive evidence moved, right and down, in pixels of the picture."
    )


class PathDifference(BaseModel):
    changed: bool
    step: int | None = Field(description="The first step that differs, from 0; null where none does.")
    before: NodeOut | None
    after: NodeOut | None


class ModelDifference(BaseModel):
    model: str
    prediction: PredictionDifference
    top: list[ClassDifference]
    maps: list[MapDifference]
    decision_path: PathDifference | None


class Differences(BaseModel):
    """From the result of the job `parent` to this one, for every model that answered both."""

    parent: str
    models: list[ModelDifference]


class ResultOut(BaseModel):
    explanations: list[ExplanationOut]
    agreement: list[AgreementOut] = Field([], description="One entry for each pair of models.")
    differences: Differences | None
    provenance: dict[str, Any]
    timings: dict[str, float]
    warnings: list[Warn]


class JobSummary(BaseModel):
    """A job, whatever its state, without its result."""

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
    links: Links


class JobOut(JobSummary):
    """A job, whatever its state."""

    result: ResultOut | None


class JobPageOut(BaseModel):
    jobs: list[JobSummary]
    next: str | None = Field(description="Address of the page that follows; null at the end.")


class ListQuery(BaseModel):
    """Which jobs are listed."""

    status: Status | None = Field(None, description="Only those in this state.")
    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(None, max_length=100, description="Where the page begins, as `next` says.")


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
    report: str
    csv: str
    zip: str


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


class FetchOut(BaseModel):
    """A fetch of an upstream model: bytes received, bytes in all where upstream says so, and why it failed."""

    state: Literal["waiting", "running", "done", "failed"]
    done: int
    total: int | None
    error: str | None


class ModelPath(BaseModel):
    name: str


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
    fetch: FetchOut | None = Field(
        description="How far the last fetch of a model is that is not ready; told to the operator."
    )


class ModelList(BaseModel):
    models: list[ModelOut]


class Health(BaseModel):
    status: str


class JobPath(BaseModel):
    job_id: str


class BatchPath(BaseModel):
    batch_id: str


class ReportPath(BatchPath):
    kind: Literal["html", "csv", "zip"]


class MemberQuery(BaseModel):
    """Which members are shown."""

    status: Status | None = Field(None, description="Only those in this state.")
    limit: int = Field(50, ge=1, le=100, description="How many at most; a page may hold fewer before the end.")
    cursor: int = Field(0, ge=0, le=10**9, description="Where the page begins, as `next` of the page before says.")
    maps: bool = Field(False, description="Adds every raw map.")


class ArtifactPath(JobPath):
    name: str


class DrawingQuery(BaseModel):
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
