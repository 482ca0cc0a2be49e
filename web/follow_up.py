"""A further question about a job's picture: the same picture and options, but for what the form changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.jobs import JobOptions
from web.schemas import Options

_CHANGEABLE = ("target", "contrast", "methods", "tree", "trust")


def options_for(asked: JobOptions, form: Mapping[str, list[str]]) -> Options:
    """The options of the new job. A class belongs to the question it was asked in and is not carried along.

    Raises pydantic's ValidationError for a value that no job may have.
    """
    given: dict[str, Any] = asked.to_dict() | {"target": "predicted", "contrast": None}
    if models := form.get("models"):
        given["models"] = models
    for name in _CHANGEABLE:
        values = [value.strip() for value in form.get(name, []) if value.strip()]
        if values:
            given[name] = values if name == "methods" else values[-1]
    return Options(**given)
