"""Jobs as the API shows them: the record, its links, and its result with artifacts as addresses."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask import url_for

from shared.blobs import BlobStore
from shared.errors import InvalidOption, UnknownJob
from shared.jobs import Job, JobStatus, rfc3339
from shared.results import Result
from shared.store import JobStore
from web import access
from web.problems import Gone

_LONGEST_PLACE = 15  # digits of a sequence number, which Redis keeps exactly


class Jobs:
    """Reads jobs and their stored results. Results never change, so that the newest few are kept at hand."""

    def __init__(self, store: JobStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._result = lru_cache(maxsize=64)(lambda ref: Result.unpack(blobs.get(ref)))

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob, or Gone for a job whose retention has passed. Whose job the caller may not see is unknown,
        and is found so by the same steps."""
        viewer = access.caller().viewer
        try:
            return self._store.get(job_id, viewer=viewer)
        except UnknownJob:
            if self._store.is_collected(job_id, viewer=viewer):
                raise Gone("the job and its result were removed when their retention had passed") from None
            raise

    def result(self, job: Job) -> Result:
        """The stored result of a succeeded job. Raises UnknownJob where it has none."""
        if job.status is not JobStatus.SUCCEEDED or job.result_ref is None:
            raise UnknownJob("the job has no result")
        return self._result(job.result_ref)

    def picture(self, job: Job) -> bytes:
        """The picture as it was uploaded."""
        return self._blobs.get(job.image.sha256)

    def page(self, *, status: JobStatus | None, most: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """The caller's jobs, newest first, and the cursor of the page that follows. Raises InvalidOption for a cursor
        that is none."""
        before = None if cursor is None else _place(cursor)
        viewer = access.caller().viewer
        found, following = self._store.newest(viewer=viewer, status=status, before=before, most=most)
        return found, None if following is None else _cursor(following)

    def to_json(self, job: Job) -> dict[str, Any]:
        """The job of the contract."""
        return {
            **self.summary(job),
            "result": self._result_json(job) if job.status is JobStatus.SUCCEEDED else None,
        }

    def summary(self, job: Job) -> dict[str, Any]:
        """The same without the result."""
        return {
            "id": job.id,
            "status": job.status.value,
            "created_at": rfc3339(job.created_ms),
            "started_at": rfc3339(job.started_ms),
            "finished_at": rfc3339(job.finished_ms),
            "queue": None if job.position is None else {"position": job.position, "eta_seconds": job.eta_seconds},
            "progress": job.progress,
            "attempts": job.attempts,
            "cached": job.cached,
            "options": job.options.to_dict(),
            "image": job.image.to_dict(),
            "error": job.error.to_dict() if job.error else None,
            "links": {
                "self": url_for("api.get_job", job_id=job.id),
                "events": url_for("api.follow_job", job_id=job.id),
                "cancel": url_for("api.cancel_job", job_id=job.id),
                "page": url_for("pages.job", job_id=job.id),
                "bundle": url_for("api.get_bundle", job_id=job.id),
            },
        }

    def _result_json(self, job: Job) -> dict[str, Any]:
        document = self.result(job).document
        timings = {"queued_ms": float((job.started_ms or job.created_ms) - job.created_ms), **document["timings"]}
        explanations = [self._with_addresses(job, entry) for entry in document["explanations"]]
        differences = document.get("differences")  # which an earlier version did not store
        return {**document, "explanations": explanations, "differences": differences, "timings": timings}

    def _with_addresses(self, job: Job, explanation: Mapping[str, Any]) -> dict[str, Any]:
        def addressed(entry: Mapping[str, Any] | None) -> dict[str, Any] | None:
            if entry is None:
                return None
            names = entry.get("artifacts", {})  # what an earlier version stored may have none
            links = {kind: url_for("api.get_artifact", job_id=job.id, name=name) for kind, name in names.items()}
            return {**entry, "artifacts": links}

        whole = addressed(explanation) or {}
        out = {**whole, "maps": [addressed(entry) for entry in explanation["maps"]]}
        if path := explanation["decision_path"]:
            steps = [{**step, "map": addressed(step["map"])} for step in path["steps"]]
            out["decision_path"] = addressed({**path, "steps": steps})
        return out


def _cursor(place: int) -> str:
    """A place in a list as clients see it: nothing to count with."""
    return base64.urlsafe_b64encode(f"before {place}".encode()).decode()


def _place(cursor: str) -> int:
    try:
        word, _, place = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, UnicodeError):
        word, place = "", ""
    if word != "before" or not (place.isascii() and place.isdigit() and len(place) <= _LONGEST_PLACE):
        raise InvalidOption("cursor: it is none of ours; take the address that next gives")
    return int(place)
