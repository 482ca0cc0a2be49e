"""A guard against forged form submissions: the same secret in a cookie and in the form (double submit)."""

from __future__ import annotations

import re
import secrets

from flask import Request, Response

COOKIE = "pathlight_form"
FIELD = "token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def token_for(request: Request) -> str:
    """The token that the browser holds already, or a new one."""
    held = request.cookies.get(COOKIE, "")
    return held if _TOKEN.fullmatch(held) else secrets.token_urlsafe(32)


def keep(response: Response, token: str, *, secure: bool) -> None:
    """Have the browser hold the token where no script and no other site gets at it."""
    response.set_cookie(COOKIE, token, secure=secure, httponly=True, samesite="Strict")


def is_genuine(request: Request) -> bool:
    """Whether the form carries the token of the cookie, so that it came from a page of ours."""
    held, sent = request.cookies.get(COOKIE, ""), request.form.get(FIELD, "")
    return _TOKEN.fullmatch(held) is not None and secrets.compare_digest(held.encode(), sent.encode())
