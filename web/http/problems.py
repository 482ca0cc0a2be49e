"""Errors as problem details (RFC 9457), or as a page where somebody looks for one: one place where exceptions become
answers, never a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus

from flask import Flask, Response, json, make_response, render_template, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared import tracing
from shared.errors import (
    BatchTooLarge,
    ImageTooLarge,
    InvalidArchive,
    InvalidImage,
    InvalidOption,
    JobConflict,
    ModelUnavailable,
    PathlightError,
    QueueFull,
    StorageFailed,
    StoreUnavailable,
    TooManyRequests,
    UnknownJob,
    UnsupportedImage,
)

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 2
BUSY = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)  # these are worth another try
DISCARDED_BYTES = 128 * 1024 * 1024  # of a refused upload, read on so that the sender gets to see the answer


class Gone(PathlightError):
    """The job existed, and was forgotten after its retention."""

    code = "gone"


class BadRequest(PathlightError):
    """The request is not of the contract's form."""

    code = "malformed"


class KeyRequired(PathlightError):
    """The request names no API key, or none that is valid."""

    code = "key_required"


class NotAllowed(PathlightError):
    """The key may not do this, or the request was made by another site."""

    code = "not_allowed"


class TooManyStreams(PathlightError):
    """No further event stream can be held open; polling goes on."""

    code = "too_many_streams"


class Busy(PathlightError):
    """All slots for such work are taken; it is worth another try shortly."""

    code = "busy"


class ReportUnderWay(PathlightError):
    """The report on a batch is being put together; says how far it is."""

    code = "report_under_way"


class NoFetcher(PathlightError):
    """No process of this service fetches models; names the command that does."""

    code = "no_fetcher"


_STATUS: tuple[tuple[type[PathlightError], HTTPStatus], ...] = (
    (UnsupportedImage, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (ImageTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (BatchTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (InvalidArchive, HTTPStatus.BAD_REQUEST),
    (InvalidImage, HTTPStatus.BAD_REQUEST),
    (InvalidOption, HTTPStatus.UNPROCESSABLE_ENTITY),
    (UnknownJob, HTTPStatus.NOT_FOUND),
    (JobConflict, HTTPStatus.CONFLICT),
    (ModelUnavailable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (QueueFull, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorageFailed, HTTPStatus.SERVICE_UNAVAILABLE),
    (TooManyStreams, HTTPStatus.SERVICE_UNAVAILABLE),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE),
    (ReportUnderWay, HTTPStatus.SERVICE_UNAVAILABLE),
    (NoFetcher, HTTPStatus.SERVICE_UNAVAILABLE),
    (Gone, HTTPStatus.GONE),
    (KeyRequired, HTTPStatus.UNAUTHORIZED),
    (NotAllowed, HTTPStatus.FORBIDDEN),
)


def status_of(error: PathlightError) -> HTTPStatus:
    """The HTTP status of an expected error; 400 where its class has none of its own."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return HTTPStatus.BAD_REQUEST


def sentence_of(error: PathlightError) -> str:
    """What callers are told of an expected error. What Redis' own words name after the colon, its address, is for the
    log."""
    if not isinstance(error, StoreUnavailable):
        return str(error)
    log.warning("%s", error)
    return str(error).partition(":")[0]


def problem(status: HTTPStatus, *, code: str, detail: str) -> Response:
    """One problem document."""
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, "code": code}
    response = with_retry(Response(json.dumps(body), status.value, content_type="application/problem+json"))
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'X-API-Key realm="Pathlight"'
    return response


def page(status: HTTPStatus, *, code: str, detail: str) -> Response:
    """The same for people."""
    return with_retry(make_response(render_template("trouble.html", status=status, code=code, text=detail), status))


def page_of(error: PathlightError) -> Response:
    """The page that says what is wrong."""
    return page(status_of(error), code=error.code, detail=sentence_of(error))


def with_retry(response: Response) -> Response:
    """The response, which says when to ask again where that is worth it."""
    if response.status_code in BUSY:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def wants_page() -> bool:
    """Whether a browser shows the answer to a person, rather than a program or a picture on a page."""
    return "text/html" in request.headers.get("Accept", "")


def register(app: Flask) -> None:
    """Answer every error of the application."""

    def answer(status: HTTPStatus, *, code: str, detail: str) -> Response:
        of_program = request.path.startswith("/api/") or not wants_page()
        return (problem if of_program else page)(status, code=code, detail=detail)

    @app.errorhandler(PathlightError)
    def expected(error: PathlightError) -> Response:
        return answer(status_of(error), code=error.code, detail=sentence_of(error))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> Response:
        discard_body()
        detail = f"the request is larger than {request.max_content_length} bytes or has too many parts"
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code="too_large", detail=detail)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = HTTPStatus(error.code or 500)
        code = {404: "not_found", 405: "method_not_allowed", 429: "too_many_requests"}.get(status.value, "malformed")
        response = answer(status, code=code, detail=error.description or status.description)
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        detail = f"something went wrong on our side; the log has it, as request {tracing.current().request_id}"
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, code="internal", detail=detail)


def discard_body() -> None:
    """Read what is left of a refused upload. Closing at once would reset the connection under the sender's feet."""
    left = min(request.content_length or 0, DISCARDED_BYTES)
    stream = request.environ["wsgi.input"]
    while left > 0:
        chunk = stream.read(min(left, 1 << 16))
        if not chunk:
            return
        left -= len(chunk)
