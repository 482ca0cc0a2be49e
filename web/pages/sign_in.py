"""Signing in with an API key, so that a browser's pages, pictures and event streams work; and signing out."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from shared.errors import StoreUnavailable
from web.api.services import services
from web.http import csrf
from web.http.language import gettext as _
from web.http.language import translate_code
from web.http.problems import sentence_of
from web.pages.form_page import form_page

pages = Blueprint("sign_in", __name__)


@pages.get("/sign-in")
def form() -> Response:
    """The form that takes a key."""
    return _form_page()


@pages.post("/sign-in")
def enter() -> WerkzeugResponse:
    """Open a session for a valid key."""
    given = services()
    if not csrf.is_genuine(request):
        return _form_page(error=_stale(), status=HTTPStatus.FORBIDDEN)
    try:
        key = given.store.keys.find(request.form.get("key", "").strip())
        if key is None:
            return _form_page(
                error=_("this key is not valid; check that it was copied whole"), status=HTTPStatus.UNAUTHORIZED
            )
        session = given.store.keys.open_session(key)
    except StoreUnavailable as error:
        return _form_page(error=translate_code(error.code, sentence_of(error)), status=HTTPStatus.SERVICE_UNAVAILABLE)
    response = redirect(_next(), HTTPStatus.SEE_OTHER)
    response.set_cookie(
        csrf.cookie(csrf.SESSION, request),
        session,
        max_age=int(given.settings.session_seconds),
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


@pages.post("/sign-out")
def leave() -> WerkzeugResponse:
    """End the session."""
    if not csrf.is_genuine(request):
        return _form_page(error=_stale(), status=HTTPStatus.FORBIDDEN)
    services().store.keys.close_session(request.cookies[csrf.cookie(csrf.SESSION, request)])
    response = redirect(url_for("sign_in.form"), HTTPStatus.SEE_OTHER)
    name = csrf.cookie(csrf.SESSION, request)
    response.delete_cookie(name, secure=request.is_secure, httponly=True, samesite="Strict")
    return response


def _form_page(*, error: str | None = None, status: int = HTTPStatus.OK) -> Response:
    return form_page("sign_in.html", cache_control="no-store", status=status, error=error, next=_next())


def _stale() -> str:
    return _("this form was opened too long ago or elsewhere; please send it once more")


def _next() -> str:
    """Where to go after signing in: a page of this very server. Browsers take `//` and `/\\` for the beginning of
    another server's address, however many slashes follow."""
    wanted = request.values.get("next", "")
    local = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return wanted if local else url_for("pages.index")
