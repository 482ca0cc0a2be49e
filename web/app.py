"""The Flask application, made from collaborators that the caller brings; importing this does no work."""

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
from web.http import access, limits, places, problems, tracing, traffic
from web.http.forms import form_request
from web.pages import guide, sign_in, views

SWITCH_SECONDS = 0.001  # after which a thread that computes lets others on: they answer many, and want little
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PERMISSIONS_POLICY = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()"
DOCS_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
DOCS = "/api/v1/swagger"


class JsonProvider(DefaultJSONProvider):
    """Flask's, for the plain values that Pathlight answers with, in their order."""

    def dumps(self, obj: Any, **options: Any) -> str:
        return json_text.encode(obj).decode()


def create_app(settings: Settings, *, store: JobStore, blobs: BlobStore, bell: Bell, registry: Models) -> OpenAPI:
    """Pages, API and health checks over the given store, blobs and models."""
    given = Services.of(settings, store=store, blobs=blobs, bell=bell, models=registry)
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
    app.request_class = form_request(given.room)
    if settings.proxy_hops:
        hops = settings.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    tracing.register(app)
    traffic.register(app, given.traffic)
    places.register(app, settings)
    access.register(app, settings, store.keys)
    limits.register(app, settings, store.rates)
    services.register(app, given)
    for api in (jobs_api.api, batches.api, health.api, metrics.api):
        app.register_api(api)
    for pages in (views.pages, sign_in.pages, guide.pages):
        app.register_blueprint(pages)
    problems.register(app)

    @app.get("/api/v1/docs", doc_ui=False)
    def docs() -> WerkzeugResponse:
        return redirect(DOCS)

    @app.teardown_request
    def close_uploads(error: BaseException | None) -> None:
        request.close()

    @app.after_request
    def protect(response: Response) -> Response:
        policy = DOCS_POLICY if request.path.startswith(DOCS) else CONTENT_SECURITY_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return app


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
