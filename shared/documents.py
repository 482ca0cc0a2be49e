"""A job as the contract shows it: the record, its links, and its answer with artifacts as addresses.

The API returns it, and webhooks carry it. `base` stands before every address: nothing, where the reader knows which
service answers, or the address of the service.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from pydantic import Field

from shared.answer.answer import Answer
from shared.answer.explanation import Explanation, ExplanationArtifacts
from shared.answer.maps import MapArtifacts
from shared.answer.path import DecisionPath, Step, TreeArtifacts
from shared.answer.record import Record
from shared.jobs import ImageRecord, Job, JobError, JobOptions, JobProgress, JobStatus, rfc3339

API = "/api/v1"
_SAFE = "!$&'()*+,:;=@"  # in a part of a path, as they are

Address = Callable[[str], str]
"""The address of an artifact, by its name."""


class Queue(Record):
    position: int
    eta_seconds: float
    reason: str | None = Field(default=None, description="Why nobody is about to take the job; null where somebody is.")


class Links(Record):
    self: str
    events: str
    cancel: str
    page: str
    bundle: str


class JobSummary(Record):
    """A job, whatever its state, without its result."""

    id: str
    status: JobStatus
    created_at: str
    started_at: str | None
    finished_at: str | None
    queue: Queue | None
    progress: JobProgress | None
    attempts: int
    cached: bool
    options: JobOptions
    image: ImageRecord
    error: JobError | None
    links: Links


class JobDocument(JobSummary):
    """A job, whatever its state."""

    result: Answer | None = Field(default=None, description="Of a job that has succeeded.")


def job_summary(job: Job, *, base: str = "") -> JobSummary:
    """The job without its result."""
    here = f"{base}{API}/jobs/{job.id}"
    return JobSummary(
        id=job.id,
        status=job.status,
        created_at=rfc3339(job.created_ms),
        started_at=rfc3339(job.started_ms),
        finished_at=rfc3339(job.finished_ms),
        queue=_queue(job),
        progress=job.progress,
        attempts=job.attempts,
        cached=job.cached,
        options=job.options,
        image=job.image,
        error=job.error,
        links=Links(
            self=here,
            events=f"{here}/events",
            cancel=f"{here}/cancel",
            page=f"{base}/jobs/{job.id}",
            bundle=f"{here}/bundle.zip",
        ),
    )


def job_document(job: Job, answer: Answer | None, *, base: str = "") -> JobDocument:
    """The whole job. `answer` is the stored one of a job that has succeeded."""
    result = None if answer is None else _result(job, answer, base)
    return JobDocument(**dict(job_summary(job, base=base)), result=result)


def _queue(job: Job) -> Queue | None:
    if job.position is None:
        return None
    reason = None if job.served else f"no worker is here that serves {', '.join(job.options.models)}; the job waits"
    return Queue(position=job.position, eta_seconds=job.eta_seconds or 0.0, reason=reason)


def _result(job: Job, answer: Answer, base: str) -> Answer:
    queued_ms = float((job.started_ms or job.created_ms) - job.created_ms)

    def address(name: str) -> str:
        return f"{base}{API}/jobs/{job.id}/artifacts/{quote(name, safe=_SAFE)}"

    return answer.model_copy(
        update={
            "explanations": tuple(_with_addresses(one, address) for one in answer.explanations),
            "timings": {"queued_ms": queued_ms, **answer.timings},
        }
    )


def _with_addresses(explanation: Explanation, address: Address) -> Explanation:
    """The explanation with the address of each artifact instead of its name."""
    logits, path = explanation.artifacts.logits, explanation.decision_path
    maps = (one.model_copy(update={"artifacts": _of_map(one.artifacts, address)}) for one in explanation.maps)
    return explanation.model_copy(
        update={
            "artifacts": ExplanationArtifacts(logits=None if logits is None else address(logits)),
            "maps": tuple(maps),
            "decision_path": None if path is None else _path_with_addresses(path, address),
        }
    )


def _path_with_addresses(path: DecisionPath, address: Address) -> DecisionPath:
    tree = None if path.artifacts is None else TreeArtifacts(tree=address(path.artifacts.tree))
    steps = tuple(_step_with_addresses(step, address) for step in path.steps)
    return path.model_copy(update={"artifacts": tree, "steps": steps})


def _step_with_addresses(step: Step, address: Address) -> Step:
    if step.map is None:
        return step
    drawn = step.map.model_copy(update={"artifacts": _of_map(step.map.artifacts, address)})
    return step.model_copy(update={"map": drawn})


def _of_map(artifacts: MapArtifacts, address: Address) -> MapArtifacts:
    return MapArtifacts(
        raw=address(artifacts.raw), heatmap=address(artifacts.heatmap), overlay=address(artifacts.overlay)
    )
