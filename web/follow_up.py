"""A further question about a job's picture: the same picture and options, but for what the form changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request
from pydantic import ValidationError

from shared.errors import InvalidOption
from shared.jobs import Job, JobOptions
from web import access, what_if
from web.jobs import Jobs
from web.schemas import Options
from web.submission import parent_of
from web.turns import Turns

_CARRIED = ("models", "methods", "tree", "trust")
_CHANGEABLE = ("target", "contrast", "methods", "tree", "trust")
HOTTEST = "hottest"


@dataclass(frozen=True)
class FollowUp:
    """What is asked. `mask` (a PNG) hides a part of the picture under `fill`; `parent` has the first answer."""

    options: Options
    mask: bytes | None
    fill: str
    parent: Job | None


def read(request: Request, asked: Job, *, jobs: Jobs, drawings: Turns) -> FollowUp:
    """The question of a form on the page of the job `asked`. Raises the error that names what is wrong.

    A new mask is a what-if of that job. Without one, a job that is a what-if itself stays one.
    """
    options = options_for(asked.options, request.form.to_dict(flat=False))
    if mask := _new_mask(request, asked, options, jobs, drawings):
        return FollowUp(options, mask, request.form.get("fill") or JobOptions.fill, parent_of(asked.id, jobs))
    known = asked.options
    return FollowUp(
        options, jobs.mask(asked), known.fill, None if known.parent is None else parent_of(known.parent, jobs)
    )


def options_for(asked: JobOptions, form: Mapping[str, list[str]]) -> Options:
    """The options of the new job. A class belongs to the question it was asked in and is not carried along.

    Raises InvalidOption for a value that no job may have.
    """
    known = asked.to_dict()
    given: dict[str, Any] = {name: known[name] for name in _CARRIED}
    if models := form.get("models"):
        given["models"] = models
    for name in _CHANGEABLE:
        values = [value.strip() for value in form.get(name, []) if value.strip()]
        if values:
            given[name] = values if name == "methods" else values[-1]
    return validated(given)


def validated(given: Mapping[str, Any]) -> Options:
    """Options of these names. Raises InvalidOption."""
    try:
        return Options(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidOption(f"{first['loc'][0]}: {first['msg']}") from error


def _new_mask(request: Request, asked: Job, options: Options, jobs: Jobs, drawings: Turns) -> bytes | None:
    """The mask that was painted, or that of the hottest region of the first map of the first model."""
    if file := request.files.get("mask"):
        return file.read() or None
    if request.form.get("hide") != HOTTEST:
        return None
    result = jobs.result(asked)
    wanted = (options.models or asked.options.models)[0]
    for explanation in result.document["explanations"]:
        if explanation["model"] == wanted and explanation["maps"]:
            raw = result.maps[explanation["maps"][0]["artifacts"]["raw"].removesuffix(".npy")]
            x0, y0, x1, y1 = explanation["input"]["box"]
            with drawings.taken(access.sharer()):
                return what_if.hottest(raw, (x0, y0, x1, y1), (asked.image.width, asked.image.height))
    raise InvalidOption(f"mask: {wanted!r} has no map in this answer")
