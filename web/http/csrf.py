"""A guard against forged submissions: a token in the form that no other site can know.

With a session, the token follows from the session's secret. Without one, the same random token is in a cookie and in
the form (double submit).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

from flask import Request, Response

SESSION = "pathlight_session"
FORM = "pathlight_form"
FIELD = "token"
HEADER = "X-CSRF-Token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def token_for(request: Request) -> str:
    """The token of the session, the one that the browser holds already, or a new one."""
    return _held(request) or secrets.token_urlsafe(32)


def cookie(name: str, request: Request) -> str:
    """A cookie's name. Over https it begins with `__Host-`, so that browsers take it from this very host alone, and
    never from a neighbour in its domain."""
    return f"__Host-{name}" if request.is_secure else name


def keep(response: Response, token: str, request: Request) -> None:
    """Have the browser hold the token where no script and no other site gets at it."""
    response.set_cookie(cookie(FORM, request), token, secure=request.is_secure, httponly=True, samesite="Strict")


def is_genuine(request: Request, *, form: bool = True) -> bool:
    """Whether the token came along, in the header or, where it may be read for that, in the form: then the request is
    made by a page of ours."""
    held = _held(request)
    sent = request.headers.get(HEADER) or (request.form.get(FIELD, "") if form else "")
    return held != "" and secrets.compare_digest(held.encode(), sent.encode())


def _held(request: Request) -> str:
    if session := request.cookies.get(cookie(SESSION, request)):
        digest = hmac.digest(session.encode(), b"pathlight form", hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
    held = request.cookies.get(cookie(FORM, request), "")
    return held if _TOKEN.fullmatch(held) else ""
