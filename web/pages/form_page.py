"""A page with forms. Each carries the token that shows, when it is sent, that a page of ours has made it."""

from __future__ import annotations

from http import HTTPStatus

from flask import Request, Response, make_response, render_template, request

from web.http import csrf, problems
from web.http.language import gettext as _
from web.http.problems import NotAllowed


def form_page(template: str, *, cache_control: str, status: int = HTTPStatus.OK, **shown: object) -> Response:
    """The page of a template, whose forms put `token` into a field that is called `token_field`."""
    token = csrf.token_for(request)
    page = render_template(template, token=token, token_field=csrf.FIELD, **shown)
    response = make_response(page, status)
    response.headers["Cache-Control"] = cache_control
    csrf.keep(response, token, request)
    return problems.with_retry(response)


def must_be_genuine(request: Request) -> None:
    """Raises NotAllowed where a form was not sent by a page of ours."""
    if not csrf.is_genuine(request):
        raise NotAllowed(_("this page was opened too long ago or elsewhere; load it again and try once more"))
