"""The files that pages load, compressed for browsers that take it.

Only for files that are the same for everybody. Pages hold form tokens, and the length of a compressed page would tell
of them to whoever can add to it (the BREACH attack).
"""

from __future__ import annotations

import gzip

from flask import Request, Response

_TEXT = {"text/css", "text/javascript", "application/javascript", "image/svg+xml"}


def shrink(response: Response, request: Request) -> Response:
    """The response, compressed where its kind and the browser allow."""
    wanted = request.accept_encodings.quality("gzip") > 0
    if not wanted or response.status_code != 200 or response.mimetype not in _TEXT:
        return response
    response.direct_passthrough = False
    response.set_data(gzip.compress(response.get_data(), mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    etag, _ = response.get_etag()
    if etag is not None:
        response.set_etag(etag, weak=True)  # the same content in other bytes
    return response
