"""The pages around an answer: the models and their cards, what maps and paths mean, and this browser's history."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from shared.broker import Bell
from shared.errors import JobConflict, PathlightError
from shared.settings import Settings
from shared.store.fetches import FetchState
from shared.store.job_store import JobStore
from web.api import fetching
from web.http import access, csrf, problems
from web.http.models import Snapshot
from web.pages.views import in_order, must_be_genuine


def blueprint(settings: Settings, *, store: JobStore, bell: Bell, registry: Snapshot) -> Blueprint:
    """Pages that need no job."""
    guide = Blueprint("guide", __name__)

    @guide.get("/models")
    def models() -> Response:
        token = csrf.token_for(request)
        fetches = fetching.under_way(registry(), store=store)
        shown = {
            "cards": in_order(registry(), settings),
            "unchecked": registry().unchecked,
            "defaults": settings.default_models,
            "fetches": fetches,
            "waiting": any(fetch.state is not FetchState.FAILED for fetch in fetches.values()),
            "may_fetch": access.caller().is_operator,
            "token": token,
            "token_field": csrf.FIELD,
        }
        response = make_response(render_template("models.html", **shown))
        response.headers["Cache-Control"] = "private, no-cache"
        csrf.keep(response, token, request)
        return response

    @guide.post("/models/<name>/fetch")
    def fetch(name: str) -> WerkzeugResponse:
        """Fetch an upstream model in the background; the page of the models says how far it is."""
        must_be_genuine(request)
        with suppress(JobConflict):  # it is ready by now: its page says so
            fetching.begin(name, registry(), store=store, bell=bell)
        return redirect(url_for("guide.models", _anchor=name), HTTPStatus.SEE_OTHER)

    @guide.get("/meaning")
    def meaning() -> str:
        return render_template("meaning.html")

    @guide.get("/history")
    def history() -> str:
        """The list itself is the browser's; the server knows no more than the jobs."""
        return render_template("history.html", open_to_all=not access.keys_needed(settings))

    @guide.errorhandler(PathlightError)
    def trouble(error: PathlightError) -> Response:
        return problems.page(problems.status_of(error), code=error.code, detail=problems.sentence_of(error))

    return guide
