"""A small application for the tests of the server, in which heads and bodies have little time to arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from web.http import server

server.HEAD_SECONDS = 1.0
server.STALLED_SECONDS = 1.0


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answers with the body that it gets, or with so many bytes as the query says, the body unread."""
    if size := environ["QUERY_STRING"]:
        start_response("200 OK", [("Content-Length", size)])
        return [b"x" * int(size)]
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
