"""A job as the contract shows it: the record, its links, and its result with artifacts as addresses.

The API answers with it, and webhooks carry it. `base` stands before every address: nothing, where the reader knows
which service answers, or the address of the service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from shared.jobs import Job, rfc3339

API = "/api/v1"
_SAFE = "!$&'()*+,:;=@"  # in a part of a path, as they are


def job_summary(job: Job, *, base: str = "") -> dict[str, Any]:
    """The job without its result."""
    here = f"{base}{API}/jobs/{job.id}"
    return {
        "id": job.id,
        "status": job.status.value,
        "created_at": rfc3339(job.created_ms),
        "started_at": rfc3339(job.started_ms),
        "finished_at": rfc3339(job.finished_ms),
        "queue": _queue(job),
        "progress": job.progress,
        "attempts": job.attempts,
        "cached": job.cached,
        "options": job.options.to_dict(),
        "image": job.image.to_dict(),
        "error": job.error.to_dict() if job.error else None,
        "links": {
            "self": here,
            "events": f"{here}/events",
            "cancel": f"{here}/cancel",
            "page": f"{base}/jobs/{job.id}",
            "bundle": f"{here}/bundle.zip",
        },
    }


def job_document(job: Job, result: Mapping[str, Any] | None, *, base: str = "") -> dict[str, Any]:
    """The whole job. `result` is the stored document of a job that has succeeded."""
    return {**job_summary(job, base=base), "result": None if result is None else _result(job, result, base=base)}


def _result(job: Job, document: Mapping[str, Any], *, base: str) -> dict[str, Any]:
    timings = {"queued_ms": float((job.started_ms or job.created_ms) - job.created_ms), **document["timings"]}
    artifacts = f"{base}{API}/jobs/{job.id}/artifacts"
    explanations = [_with_addresses(entry, artifacts) for entry in document["explanations"]]
    differences = document.get("differences")  # which an earlier version did not store
    return {**document, "explanations": explanations, "differences": differences, "timings": timings}


def _with_addresses(explanation: Mapping[str, Any], artifacts: str) -> dict[str, Any]:
    def addressed(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if entry is None:
            return None
        names = entry.get("artifacts", {})  # what an earlier version stored may have none
        links = {kind: f"{artifacts}/{quote(name, safe=_SAFE)}" for kind, name in names.items()}
        return {**entry, "artifacts": links}

    whole = addressed(explanation) or {}
    out = {**whole, "maps": [addressed(entry) for entry in explanation["maps"]]}
    if path := explanation["decision_path"]:
        steps = [{**step, "map": addressed(step["map"])} for step in path["steps"]]
        out["decision_path"] = addressed({**path, "steps": steps})
    return out


def _queue(job: Job) -> dict[str, Any] | None:
    if job.position is None:
        return None
    reason = None if job.served else f"no worker is here that serves {', '.join(job.options.models)}; the job waits"
    return {"position": job.position, "eta_seconds": job.eta_seconds, "reason": reason}
