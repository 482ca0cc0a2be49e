"""What the API's description says of many routes: how they are secured, and what they may refuse with.

A view has a `summary` instead of a docstring, which would become a part of the description.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_PROBLEM = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def problems_of(*statuses: HTTPStatus) -> dict[str | int, Any]:
    """What a route may refuse with."""
    return {str(status.value): {"description": status.phrase, **_PROBLEM} for status in statuses}


SECURITY: list[dict[str, list[str]]] = [{}, {"key": []}]  # a key is needed where the operator asks for one
# What any request may meet with.
REFUSALS = problems_of(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
