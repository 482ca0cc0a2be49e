"""Batches over HTTP: many pictures in one request, what became of them, and the changes that a batch allows."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import numpy as np
from flask import Response, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from numpy.typing import NDArray
from pydantic import TypeAdapter

from shared import options as job_options
from shared import tracing
from shared.cards.card import Registry
from shared.jobs import CommonOptions, Job, JobOptions, JobStatus, rfc3339
from shared.report.page import content_security_policy
from shared.store.batches import Batch, Member
from web.api import submission as submissions
from web.api.batch_upload import Reader, Upload
from web.api.description import REFUSALS, SECURITY, problems_of
from web.api.jobs import Jobs, gone_if_collected
from web.api.replies import accepted, unstored
from web.api.schemas import BatchOut, BatchPath, MemberPageOut, MemberQuery, ReportPath
from web.api.services import services
from web.http import access
from web.http.problems import RETRY_AFTER_SECONDS, ReportUnderWay, problem, status_of

log = logging.getLogger(__name__)

_REPORTS = {"html": "text/html; charset=utf-8", "csv": "text/csv; charset=utf-8", "zip": "application/zip"}

ChangeView = Callable[[BatchPath], Response]

api = APIBlueprint(
    "batches",
    __name__,
    url_prefix="/api/v1/batches",
    abp_tags=[Tag(name="batches", description="Many images")],
    abp_security=SECURITY,
    abp_responses=REFUSALS,
)


def _submit_body() -> dict[str, Any]:
    form = TypeAdapter(CommonOptions).json_schema()
    pictures = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form["properties"] = {"image": pictures, **form["properties"]}
    form["required"] = ["image"]
    return {"required": True, "content": {"multipart/form-data": {"schema": form}}}


@api.post(
    "",
    summary="Submit many pictures, or one archive of pictures",
    responses={
        "202": BatchOut,
        **problems_of(
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
    },
    openapi_extensions={"requestBody": _submit_body()},
)
def submit_batch() -> Response:
    given = services()
    key = submissions.idempotency_key(request)
    left = given.room.require()
    with given.blobs.provisional(given.store.referenced) as stored:
        upload = Reader(given.settings, stored, room=given.room, unpacking=given.unpacking).read(request)
        batch_id = _accept(upload, key, left)
    given.bell.ring()
    return accepted(to_json(_visible(batch_id)), location=url_for("batches.get_batch", batch_id=batch_id))


@api.get(
    "/<batch_id>",
    summary="How far a batch is",
    responses={"200": BatchOut, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
def get_batch(path: BatchPath) -> Response:
    return unstored(to_json(_visible(path.batch_id)))


@api.delete(
    "/<batch_id>",
    summary="Forget a batch that has ended, with its members and their results",
    responses={
        "204": {"description": "It is forgotten"},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
    },
)
def delete_batch(path: BatchPath) -> Response:
    services().jobs.forget(_visible(path.batch_id).id)
    return Response(status=HTTPStatus.NO_CONTENT)


@api.get(
    "/<batch_id>/members",
    summary="The members of a batch in their order, page by page",
    responses={"200": MemberPageOut, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.GONE)},
)
def list_members(path: BatchPath, query: MemberQuery) -> Response:
    _visible(path.batch_id)
    given = services()
    page = given.store.batches.members(
        path.batch_id,
        start=query.cursor,
        most=query.limit,
        statuses=[JobStatus(query.status)] if query.status else [],
    )
    following = query.model_dump(exclude_none=True) | {"cursor": page.next}
    with given.drawings.taken(access.sharer()) if query.maps else nullcontext():
        shown = [_member(job, place, maps=query.maps) for place, job in page.members]
    next_page = None if page.next is None else url_for("batches.list_members", batch_id=path.batch_id, **following)
    return unstored({"members": shown, "next": next_page})


@api.get(
    "/<batch_id>/report.<kind>",
    summary="The report on a batch that has ended: a page, a table, or an archive of all that the page shows",
    responses={
        "200": {"description": "The file", "content": {kind: {} for kind in _REPORTS.values()}},
        **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE),
    },
)
def get_report(path: ReportPath) -> Response:
    reports, batch = services().reports, _visible(path.batch_id)
    if path.kind == "html":
        try:
            response = Response(reports.page(batch))
        except ReportUnderWay as error:  # somebody looks at it: a browser asks again by itself
            response = problem(status_of(error), code=error.code, detail=str(error))
            response.headers["Refresh"] = str(RETRY_AFTER_SECONDS)
            return response
        response.headers["Content-Security-Policy"] = content_security_policy()
    else:
        response = Response(reports.table(batch) if path.kind == "csv" else reports.archive(batch))
        name = f"pathlight-{batch.id}.{path.kind}"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.content_type = _REPORTS[path.kind]
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _change(name: str, summary: str) -> Callable[[ChangeView], object]:
    """The route of a change, which is answered with the batch as it is then."""
    return api.post(
        f"/<batch_id>/{name}",
        summary=summary,
        responses={"200": BatchOut, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE)},
    )


@_change("cancel", "Cancel all members that have not ended")
def cancel_batch(path: BatchPath) -> Response:
    batch = _visible(path.batch_id)
    services().store.batches.cancel(batch.id, operation=submissions.idempotency_key(request))
    return _changed(batch.id)


@_change("pause", "Let no further member begin")
def pause_batch(path: BatchPath) -> Response:
    batch = _visible(path.batch_id)
    services().store.batches.pause(batch.id)
    return _changed(batch.id)


@_change("resume", "Let a paused batch go on")
def resume_batch(path: BatchPath) -> Response:
    batch = _visible(path.batch_id)
    services().store.batches.resume(batch.id)
    return _changed(batch.id)


@_change("retry", "Run the failed members again, but for pictures that cannot be decoded")
def retry_batch(path: BatchPath) -> Response:
    batch = _visible(path.batch_id)
    services().store.batches.retry(batch.id, versions=services().registry().versions(batch.options.models))
    return _changed(batch.id)


def _visible(batch_id: str) -> Batch:
    """The batch, where the caller may see it. Raises UnknownJob, or Gone where its retention has passed."""
    store, viewer = services().store, access.caller().viewer
    with gone_if_collected(store, batch_id, viewer=viewer, what="the batch and its results"):
        return store.batches.get(batch_id, viewer=viewer)


def _changed(batch_id: str) -> Response:
    """Ring for what may run now, and answer with the batch as it is."""
    services().bell.ring()
    return jsonify(to_json(_visible(batch_id)))


def _accept(upload: Upload, key: str, left: int) -> str:
    """Store the batch, for whose pictures so many bytes were left on the disk; its id."""
    given = services()
    registry = given.registry()
    asked = job_options.validated(CommonOptions, submissions.from_form(upload.fields))
    options = submissions.choose(asked, settings=given.settings, registry=registry)
    members = [_asked(member, options, registry) for member in upload.members]
    batch_id = given.store.batches.submit(
        members,
        options,
        name=upload.name,
        owner=access.caller().owner,
        idempotency_key=key,
        body_hash=submissions.digest([member.image.sha256 for member in members], options.to_dict()),
        request_id=tracing.current().request_id,
        versions=registry.versions(options.models),
        sharer=access.sharer(),
        room=left,
    )
    log.info("batch %s accepted: %d pictures, for %s", batch_id, len(members), ", ".join(options.models))
    return batch_id


def to_json(batch: Batch) -> dict[str, Any]:
    """The batch of the contract."""

    def link(name: str) -> str:
        return url_for(f"batches.{name}", batch_id=batch.id)

    return {
        "id": batch.id,
        "status": batch.status.value,
        "name": batch.name,
        "created_at": rfc3339(batch.created_ms),
        "finished_at": rfc3339(batch.finished_ms),
        "total": batch.total,
        "counts": {status.value: count for status, count in batch.counts.items()},
        "progress": {"done": batch.ended, "total": batch.total},
        "eta_seconds": batch.eta_seconds,
        "options": batch.options.to_dict(),
        "links": {
            "self": link("get_batch"),
            "members": link("list_members"),
            "failed": url_for("batches.list_members", batch_id=batch.id, status="failed"),
            **{name: link(f"{name}_batch") for name in ("cancel", "pause", "resume", "retry")},
            "report": url_for("batches.get_report", batch_id=batch.id, kind="html"),
            "csv": url_for("batches.get_report", batch_id=batch.id, kind="csv"),
            "zip": url_for("batches.get_report", batch_id=batch.id, kind="zip"),
        },
    }


def _asked(member: Member, options: JobOptions, registry: Registry) -> Member:
    """The member with its question, by which duplicates are known."""
    if member.error:
        return member
    key = submissions.answer_key(member.image, options, registry)
    return replace(member, answer_key=key, solo=job_options.is_long(options))


def _member(job: Job, place: int, *, maps: bool) -> dict[str, Any]:
    """A member of the contract."""
    jobs = services().jobs
    return {"place": place, **jobs.document(job).to_dict(), **({"maps": _maps(jobs, job)} if maps else {})}


def _maps(jobs: Jobs, job: Job) -> dict[str, Any]:
    """Every raw map of a job, so that a client of thousands need not ask for each."""
    if job.status is not JobStatus.SUCCEEDED:
        return {}
    return {f"{name}.npy": _cells(raw) for name, raw in jobs.result(job).maps.items()}


def _cells(raw: NDArray[np.float32]) -> dict[str, Any]:
    data = np.ascontiguousarray(raw, "<f4").tobytes()
    return {"shape": list(raw.shape), "float32": base64.b64encode(data).decode("ascii")}
