"""Liveness and readiness, for whoever operates the service."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from shared.errors import PathlightError
from web.api.description import REFUSALS, problems_of
from web.api.schemas import Health
from web.api.services import Services, services
from web.http.problems import problem, sentence_of

api = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")], abp_responses=REFUSALS)


@api.get("/healthz", summary="The process is up", responses={"200": Health})
def healthz() -> Response:
    return jsonify({"status": "ok"})


@api.get(
    "/readyz",
    summary="Jobs are taken and worked on",
    responses={"200": Health, **problems_of(HTTPStatus.SERVICE_UNAVAILABLE)},
)
def readyz() -> Response:
    reason = unready(services())
    if reason is None:
        return jsonify({"status": "ready"})
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, code="not_ready", detail=reason)


def unready(given: Services) -> str | None:
    """Why the service cannot work just now, in one sentence; None where it can."""
    try:
        given.store.ping()
        if given.store.workers_heard() == 0:
            return f"no worker was heard within {given.settings.heartbeat_seconds:.0f} s"
        if given.room.left() < 0:
            return "the disk has too little room left"
        if given.store.is_nearly_full():
            return "Redis has too little memory left for new jobs"
    except PathlightError as error:
        return sentence_of(error)
    except OSError as error:
        return str(error)
    return None
