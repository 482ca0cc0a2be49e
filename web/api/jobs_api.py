"""Jobs over HTTP: submitted, followed, cancelled and forgotten, and the files of their answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import TypeAdapter

from shared.documents import JobDocument
from shared.drawing.maps import Style
from shared.errors import JobConflict
from shared.jobs import JobStatus
from web.api import models
from web.api import submission as submissions
from web.api.acceptance import accept
from web.api.artifacts import UPLOADED
from web.api.bundle import bundle
from web.api.description import REFUSALS, SECURITY, problems_of
from web.api.events import EVENT_STREAM
from web.api.replies import accepted, unstored
from web.api.schemas import ArtifactPath, DrawingQuery, JobForm, JobPageOut, JobPath, JsonSubmission, ListQuery
from web.api.services import services
from web.http import access

_EVENT = {
    "type": "object",
    "properties": {"event": {"const": "job"}, "data": {"type": "string", "description": "The job as JSON."}},
    "required": ["event", "data"],
}
_SIGNATURE = {
    "webhook-id": "The job's id, the same at every attempt.",
    "webhook-timestamp": "Seconds since the epoch at this attempt.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64, as Standard Webhooks has it.",
}
_WEBHOOK = {
    "ended": {
        "{$request.body#/webhook}": {
            "post": {
                "summary": "The job has ended",
                "description": "Sent at least once, and again after growing pauses until the answer is a 2xx.",
                "parameters": [
                    {"in": "header", "name": name, "required": True, "description": text, "schema": {"type": "string"}}
                    for name, text in _SIGNATURE.items()
                ],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobDocument"}}},
                },
                "responses": {"2XX": {"description": "Heard; whatever else is answered, it is sent again."}},
            }
        }
    }
}

api = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="jobs", description="Explanation jobs")],
    abp_security=SECURITY,
    abp_responses=REFUSALS,
)


def _submit_body() -> dict[str, Any]:
    form = TypeAdapter(JobForm).json_schema()
    files = {
        "image": "JPEG, PNG or WebP. Needed unless `parent` is given, whose picture is then taken.",
        "mask": "What if: a PNG of the picture's size, white where the picture is to be hidden.",
    }
    parts = {name: {"type": "string", "format": "binary", "description": text} for name, text in files.items()}
    form["properties"] = {**parts, **form["properties"]}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": TypeAdapter(JsonSubmission).json_schema()},
        },
    }


@api.post(
    "/jobs",
    summary="Submit a picture to be explained",
    responses={
        "202": JobDocument,
        **problems_of(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
    openapi_extensions={"requestBody": _submit_body(), "callbacks": _WEBHOOK},
)
def submit_job() -> Response:
    given = services()
    submission, picture, mask = submissions.read(request, given)
    job = accept(submission, picture, given, mask=mask)
    if submission.webhook and job.status.is_terminal:  # its answer was known already
        given.bell.ring_sender()
    return accepted(given.jobs.permitted_document(job).to_dict(), location=url_for("api.get_job", job_id=job.id))


@api.get(
    "/jobs",
    summary="List jobs, newest first",
    description="With a key, its own jobs, or all with the scope admin. Where the server needs no key, everybody "
    "who can reach it sees all jobs and the names of their files.",
    responses={"200": JobPageOut, **problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)},
)
def list_jobs(query: ListQuery) -> Response:
    jobs = services().jobs
    found, cursor = jobs.page(status=query.status, most=query.limit, cursor=query.cursor)
    following = query.model_dump(exclude_none=True) | {"cursor": cursor}
    return unstored(
        {
            "jobs": [jobs.summary(job).to_dict() for job in found],
            "next": None if cursor is None else url_for("api.list_jobs", **following),
        }
    )


@api.get(
    "/jobs/<job_id>",
    summary="Poll a job",
    responses={
        "200": JobDocument,
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
def get_job(path: JobPath) -> Response:
    jobs = services().jobs
    return unstored(jobs.document(jobs.get(path.job_id)).to_dict())


@api.get(
    "/jobs/<job_id>/events",
    summary="Follow a job until it ends",
    description="Server-sent events: one `job` event a change, with the job as JSON. The last is terminal, then "
    "the stream closes. Streams are bounded: past their number the answer is 503, and clients poll instead.",
    responses={
        "200": {"description": "The stream", "content": {EVENT_STREAM: {"schema": _EVENT}}},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
def follow_job(path: JobPath) -> Response:
    return services().streams.open(path.job_id)


@api.post(
    "/jobs/<job_id>/cancel",
    summary="Cancel a job",
    description="With an `Idempotency-Key`, the same request sent again is answered as the first.",
    responses={"200": JobDocument, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)},
)
def cancel_job(path: JobPath) -> Response:
    jobs = services().jobs
    jobs.get(path.job_id)
    services().store.cancel(path.job_id, operation=submissions.idempotency_key(request))
    return jsonify(jobs.permitted_document(jobs.get(path.job_id)).to_dict())


@api.delete(
    "/jobs/<job_id>",
    summary="Forget a job that has ended, and its result",
    responses={
        "204": {"description": "It is forgotten"},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
    },
)
def delete_job(path: JobPath) -> Response:
    jobs = services().jobs
    jobs.forget(jobs.get(path.job_id).id)
    return Response(status=HTTPStatus.NO_CONTENT)


@api.get(
    "/jobs/<job_id>/artifacts/<name>",
    summary="A raw map, a drawn picture, or what was uploaded",
    description="The files that a result names, `picture.jpg` (the picture as it was explained) and, of a what-if, "
    "`mask.png`.",
    responses={
        "200": {
            "description": "The file",
            "content": {kind: {} for kind in ("image/png", "image/jpeg", "image/svg+xml", "application/octet-stream")},
        },
        "304": {"description": "Not modified"},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY),
    },
)
def get_artifact(path: ArtifactPath, query: DrawingQuery) -> Response:
    jobs = services().jobs
    job = jobs.get(path.job_id)
    result = jobs.result(job) if path.name not in UPLOADED or job.status is JobStatus.SUCCEEDED else None
    style = Style(**query.model_dump())
    artifact = services().artifacts.get(job, result, path.name, style, sharer=access.sharer())
    fresh = request.if_none_match.contains(artifact.etag)
    response = Response(status=HTTPStatus.NOT_MODIFIED) if fresh else Response(artifact.make())
    response.content_type = artifact.content_type
    response.set_etag(artifact.etag)
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    response.headers["Content-Disposition"] = f'inline; filename="{path.name}"'
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'; img-src data:"  # of a tree
    return response


@api.get(
    "/jobs/<job_id>/bundle.zip",
    summary="All that a succeeded job answered, in one archive",
    description="`job.json`, every file under `artifacts/`, `manifest.json` with the SHA-256 of each and of the "
    "original picture, and `manifest.sig` where the operator signs. The same job gives the same bytes. "
    "`pathlight verify` checks it.",
    responses={
        "200": {"description": "The archive", "content": {"application/zip": {}}},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE),
    },
)
def get_bundle(path: JobPath) -> Response:
    given = services()
    jobs = given.jobs
    job = jobs.get(path.job_id)
    if job.status is not JobStatus.SUCCEEDED:
        raise JobConflict(f"the job is {job.status}; only a succeeded one has files to bundle")
    for read in (jobs.picture, jobs.mask):  # they are there: once the archive is on its way, nothing can be said
        read(job)
    sharer, result, document, key = access.sharer(), jobs.result(job), jobs.document(job), given.settings.signing_key
    pieces = bundle(job, result, document, artifacts=given.artifacts, signing_key=key, sharer=sharer)
    response = Response(given.sending.send(sharer, pieces), content_type="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="pathlight-{job.id}.zip"'
    response.headers["Cache-Control"] = "no-store"
    return response


models.add_to(api)
