"""The pages around an answer: the models and their cards, what maps and paths mean, and this browser's history."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from shared.errors import JobConflict, PathlightError
from shared.store.fetches import FetchState
from web.api import fetching
from web.api.services import services
from web.http import access, problems
from web.http.models import in_order
from web.pages.form_page import form_page, must_be_genuine

pages = Blueprint("guide", __name__)
pages.register_error_handler(PathlightError, problems.page_of)


@pages.get("/models")
def models() -> Response:
    """The models and their cards, and how far the fetches are."""
    given = services()
    registry, fetches = given.registry(), fetching.under_way(given)
    return form_page(
        "models.html",
        cache_control="private, no-cache",
        cards=in_order(registry, given.settings),
        unchecked=registry.unchecked,
        defaults=given.settings.default_models,
        fetches=fetches,
        waiting=any(fetch.state is not FetchState.FAILED for fetch in fetches.values()),
        may_fetch=access.caller().is_operator,
    )


@pages.post("/models/<name>/fetch")
def fetch(name: str) -> WerkzeugResponse:
    """Fetch an upstream model in the background; the page of the models says how far it is."""
    must_be_genuine(request)
    with suppress(JobConflict):  # it is ready by now: its page says so
        fetching.begin(name, services())
    return redirect(url_for("guide.models", _anchor=name), HTTPStatus.SEE_OTHER)


@pages.get("/meaning")
def meaning() -> str:
    """What maps and paths mean."""
    return render_template("meaning.html")


@pages.get("/history")
def history() -> str:
    """What this browser has asked. The list itself is the browser's; the server knows no more than the jobs."""
    return render_template("history.html", open_to_all=not access.keys_needed(services().settings))
