"""Liveness and readiness, for whoever operates the service."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from shared.errors import PathlightError
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.api.description import REFUSALS, problems_of
from web.api.schemas import Health
from web.http.problems import problem, sentence_of
from web.http.room import Room


def blueprint(settings: Settings, *, store: JobStore, room: Room) -> APIBlueprint:
    """The two routes."""
    health = APIBlueprint("health", __name__, abp_tags=[Tag(name="health")], abp_responses=REFUSALS)

    @health.get("/healthz", summary="The process is up", responses={"200": Health})
    def healthz() -> Response:
        return jsonify({"status": "ok"})

    @health.get(
        "/readyz",
        summary="Jobs are taken and worked on",
        responses={"200": Health, **problems_of(HTTPStatus.SERVICE_UNAVAILABLE)},
    )
    def readyz() -> Response:
        reason = unready(settings, store=store, room=room)
        if reason is None:
            return jsonify({"status": "ready"})
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, code="not_ready", detail=reason)

    return health


def unready(settings: Settings, *, store: JobStore, room: Room) -> str | None:
    """Why the service cannot work just now, in one sentence; None where it can."""
    try:
        store.ping()
        if store.workers_heard() == 0:
            return f"no worker was heard within {settings.heartbeat_seconds:.0f} s"
        if room.left() < 0:
            return "the disk has too little room left"
        if store.is_nearly_full():
            return "Redis has too little memory left for new jobs"
    except PathlightError as error:
        return sentence_of(error)
    except OSError as error:
        return str(error)
    return None
