"""The REST API, version 1."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import TypeAdapter

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell
from shared.cards.card import ModelCard
from shared.documents import JobDocument
from shared.drawing.maps import Style
from shared.errors import JobConflict
from shared.jobs import TREES, JobStatus
from shared.settings import Settings
from shared.store.fetches import Fetch
from shared.store.job_store import JobStore
from web.api import fetching
from web.api import submission as submissions
from web.api.acceptance import accept
from web.api.artifacts import ASKED, Artifacts
from web.api.bundle import bundle
from web.api.description import REFUSALS, SECURITY, problems_of
from web.api.events import EVENT_STREAM, Streams
from web.api.jobs import Jobs
from web.api.named_addresses import NamedAddresses
from web.api.schemas import (
    ArtifactPath,
    DrawingQuery,
    FetchOut,
    JobForm,
    JobPageOut,
    JobPath,
    JsonSubmission,
    ListQuery,
    ModelList,
    ModelPath,
)
from web.api.sending import Sending
from web.http import access
from web.http.models import Snapshot
from web.http.room import Room
from web.http.turns import Turns

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


def blueprint(
    settings: Settings,
    *,
    store: JobStore,
    blobs: BlobStore,
    bell: Bell,
    registry: Snapshot,
    jobs: Jobs,
    drawings: Turns,
    sending: Sending,
    room: Room,
) -> APIBlueprint:
    """All routes under /api/v1."""
    api = APIBlueprint(
        "api",
        __name__,
        url_prefix="/api/v1",
        abp_tags=[Tag(name="jobs", description="Explanation jobs")],
        abp_security=SECURITY,
        abp_responses=REFUSALS,
    )
    artifacts = Artifacts(blobs, settings, drawings=drawings)
    streams = Streams(settings, store=store, jobs=jobs)
    addresses = NamedAddresses(settings)

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
        submission, picture, mask = submissions.read(
            request, settings=settings, registry=registry(), jobs=jobs, addresses=addresses
        )
        job = accept(submission, picture, mask=mask, store=store, blobs=blobs, bell=bell, room=room)
        if submission.webhook and job.status.is_terminal:  # its answer was known already
            bell.ring_sender()
        response = jsonify(jobs.told(job).to_dict())
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Location"] = url_for("api.get_job", job_id=job.id)
        response.headers["Retry-After"] = "1"
        return response

    @api.get(
        "/jobs",
        summary="List jobs, newest first",
        description="With a key, its own jobs, or all with the scope admin. Where the server needs no key, everybody "
        "who can reach it sees all jobs and the names of their files.",
        responses={"200": JobPageOut, **problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE)},
    )
    def list_jobs(query: ListQuery) -> Response:
        found, cursor = jobs.page(status=query.status, most=query.limit, cursor=query.cursor)
        following = query.model_dump(exclude_none=True) | {"cursor": cursor}
        response = jsonify(
            {
                "jobs": [jobs.summary(job).to_dict() for job in found],
                "next": None if cursor is None else url_for("api.list_jobs", **following),
            }
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.get(
        "/jobs/<job_id>",
        summary="Poll a job",
        responses={
            "200": JobDocument,
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE),
        },
    )
    def get_job(path: JobPath) -> Response:
        response = jsonify(jobs.document(jobs.get(path.job_id)).to_dict())
        response.headers["Cache-Control"] = "no-store"
        return response

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
        return streams.open(path.job_id)

    @api.post(
        "/jobs/<job_id>/cancel",
        summary="Cancel a job",
        description="With an `Idempotency-Key`, the same request sent again is answered as the first.",
        responses={"200": JobDocument, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)},
    )
    def cancel_job(path: JobPath) -> Response:
        jobs.get(path.job_id)
        store.cancel(path.job_id, operation=submissions.idempotency_key(request))
        return jsonify(jobs.told(jobs.get(path.job_id)).to_dict())

    @api.delete(
        "/jobs/<job_id>",
        summary="Forget a job that has ended, and its result",
        responses={
            "204": {"description": "It is forgotten"},
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
        },
    )
    def delete_job(path: JobPath) -> Response:
        jobs.get(path.job_id)
        blobs.remove(store.forget(path.job_id), store.referenced)
        return Response(status=HTTPStatus.NO_CONTENT)

    @api.get(
        "/jobs/<job_id>/artifacts/<name>",
        summary="A raw map, a drawn picture, or what was uploaded",
        description="The files that a result names, `picture.jpg` (the picture as it was explained) and, of a what-if, "
        "`mask.png`.",
        responses={
            "200": {
                "description": "The file",
                "content": {
                    kind: {} for kind in ("image/png", "image/jpeg", "image/svg+xml", "application/octet-stream")
                },
            },
            "304": {"description": "Not modified"},
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY),
        },
    )
    def get_artifact(path: ArtifactPath, query: DrawingQuery) -> Response:
        job = jobs.get(path.job_id)
        result = jobs.result(job) if path.name not in ASKED or job.status is JobStatus.SUCCEEDED else None
        style = Style(**query.model_dump())
        artifact = artifacts.get(job, result, path.name, style, sharer=access.sharer())
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
        job = jobs.get(path.job_id)
        if job.status is not JobStatus.SUCCEEDED:
            raise JobConflict(f"the job is {job.status}; only a succeeded one has files to bundle")
        for read in (jobs.picture, jobs.mask):  # they are there: once the archive is on its way, nothing can be said
            read(job)
        sharer, result, document, key = access.sharer(), jobs.result(job), jobs.document(job), settings.signing_key
        pieces = bundle(job, result, document, artifacts=artifacts, signing_key=key, sharer=sharer)
        response = Response(sending.send(sharer, pieces), content_type="application/zip")
        response.headers["Content-Disposition"] = f'attachment; filename="pathlight-{job.id}.zip"'
        response.headers["Cache-Control"] = "no-store"
        return response

    @api.get("/models", summary="All models, ready or not", responses={"200": ModelList})
    def list_models() -> Response:
        fetches = fetching.under_way(registry(), store=store)
        cards = registry().cards.values()
        return jsonify({"models": [model_json(card, settings, fetch=fetches.get(card.name)) for card in cards]})

    @api.post(
        "/models/<name>/fetch",
        summary="Fetch an upstream model in the background",
        description="For the operator: from the service's own machine where no key is needed, else with a key of "
        "the scope admin. A request during a fetch joins it. `GET /api/v1/models` says how far it is.",
        responses={
            "202": FetchOut,
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
        },
    )
    def fetch_model(path: ModelPath) -> Response:
        fetch = fetching.begin(path.name, registry(), store=store, bell=bell)
        response = jsonify(fetch.to_dict())
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Location"] = url_for("api.list_models")
        response.headers["Retry-After"] = "1"
        return response

    return api


def model_json(card: ModelCard, settings: Settings, *, fetch: Fetch | None) -> dict[str, Any]:
    """One model of the list, with what it can do. `reason` says why it is not ready, or else what it cannot do."""
    return {
        "name": card.name,
        "title": card.title,
        "ready": card.missing is None,
        "reason": card.missing or card.limit,
        "remedy": card.remedy,
        "default": card.name in settings.default_models,
        "architecture": card.architecture,
        "class_count": card.class_count,
        "classes": list(card.classes),
        "methods": list(card.methods),
        "tree_modes": [mode for mode in TREES if mode not in ("auto", "off")] if card.hierarchy else [],
        "tree_supervised": card.tree_supervised,
        "weights_sha256": card.weights.sha256,
        "facts": dict(card.facts),
        "fetch": fetch.to_dict() if fetch else None,
    }
