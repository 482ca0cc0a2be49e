"""Answers in JSON that many routes give."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from flask import Response, jsonify


def unstored(document: Mapping[str, Any]) -> Response:
    """A document that is another one soon: nobody on the way keeps it."""
    response = jsonify(document)
    response.headers["Cache-Control"] = "no-store"
    return response


def accepted(document: Mapping[str, Any], *, location: str) -> Response:
    """What was accepted, and the address that says how far it is; in a second it may be further."""
    response = jsonify(document)
    response.status_code = HTTPStatus.ACCEPTED
    response.headers["Location"] = location
    response.headers["Retry-After"] = "1"
    return response
