"""The Flask application, made from collaborators that the caller brings; importing this makes none."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from flask import Response, redirect, request
from flask.json.provider import DefaultJSONProvider
from flask_openapi3 import Info, OpenAPI
from pydantic import ValidationError
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response as WerkzeugResponse

from shared import json_text, logs
from shared.blobs.blob_store import BlobStore
from shared.blobs.bucket import blob_store
from shared.broker import Bell, make_celery
from shared.cards.registry import LiveRegistry, Models
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.api import batches, health, jobs_api, metrics, services
from web.api.schemas import Problem
from web.api.services import Services
from web.http import access, headers, limits, problems, slots, tracing, traffic
from web.http.forms import form_request
from web.pages import guide, sign_in, views

SWITCH_SECONDS = 0.001  # after which a thread that computes lets others on: they answer many, and want little
DOCS = "/api/v1/swagger"


class JsonProvider(DefaultJSONProvider):
    """Flask's, for the plain values that Pathlight answers with, in their order."""

    def dumps(self, obj: Any, **options: Any) -> str:
        return json_text.encode(obj).decode()


def create_app(settings: Settings, *, store: JobStore, blobs: BlobStore, bell: Bell, registry: Models) -> OpenAPI:
    """Pages, API and health checks over the given store, blobs and models."""
    given = Services.of(settings, store=store, blobs=blobs, bell=bell, models=registry)
    app = _empty_app(settings)
    app.request_class = form_request(given.room)
    services.register(app, given)
    _guard(app, given)
    _add_views(app)
    problems.register(app)
    app.teardown_request(_close_uploads)
    headers.register(app, docs=DOCS)
    return app


def _empty_app(settings: Settings) -> OpenAPI:
    app = OpenAPI(
        "web",
        static_folder=None,  # the pages bring their own files
        info=Info(
            title="Pathlight",
            version="1",
            description="Which pixels and which decisions led an image classifier to its answer.",
        ),
        doc_prefix="/api/v1",
        doc_url="/openapi.json",
        security_schemes={"key": {"type": "apiKey", "in": "header", "name": access.HEADER}},
        validation_error_model=Problem,
        validation_error_callback=_invalid_request,
    )
    app.config.update(
        TRUSTED_HOSTS=settings.hosts,
        MAX_CONTENT_LENGTH=settings.request_bytes,
        MAX_FORM_MEMORY_SIZE=settings.form_memory_bytes,
        MAX_FORM_PARTS=settings.request_parts,
    )
    app.json = JsonProvider(app)
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    return app


def _guard(app: OpenAPI, given: Services) -> None:
    """What every request passes on its way to its view, in this order."""
    settings, store = given.settings, given.store
    tracing.register(app)
    traffic.register(app, given.traffic)
    slots.register(app, settings)
    access.register(app, settings, store.keys)
    limits.register(app, settings, store.rates)


def _add_views(app: OpenAPI) -> None:
    for api in (jobs_api.api, batches.api, health.api, metrics.api):
        app.register_api(api)
    for pages in (views.pages, sign_in.pages, guide.pages):
        app.register_blueprint(pages)
    app.add_url_rule("/api/v1/docs", view_func=docs)


def docs() -> WerkzeugResponse:
    """The pages of the API's description."""
    return redirect(DOCS)


def _close_uploads(_: BaseException | None) -> None:
    request.close()


def from_environment() -> OpenAPI:
    """The application for a WSGI server: `gunicorn 'web.app:from_environment()'`."""
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = Settings.load()
    logs.configure(settings)
    store = JobStore.connect(settings)
    return create_app(
        settings,
        store=store,
        blobs=blob_store(settings),
        bell=Bell(make_celery(settings), pools=store.pools.names),
        registry=LiveRegistry(settings),
    )


def _invalid_request(error: ValidationError) -> Response:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return problems.problem(HTTPStatus.UNPROCESSABLE_ENTITY, code="invalid_option", detail=f"{name}: {first['msg']}")
