"""A further question about a job's picture: the same picture and options, but for what the form changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Request

from shared.errors import InvalidOption
from shared.jobs import FILLS, LISTS, CommonOptions, Job, JobOptions
from shared.options import validated
from web.api.jobs import Jobs
from web.api.submission import parent_of
from web.http import access
from web.http.turns import Turns
from web.pages import what_if

_CLASSES = ("target", "contrast")  # belong to the question that they were asked in, and are not carried along
HOTTEST = "hottest"


@dataclass(frozen=True)
class FollowUp:
    """What is asked. `mask` (a PNG) hides a part of the picture under `fill`; `parent` has the first answer."""

    options: CommonOptions
    mask: bytes | None
    fill: str
    parent: Job | None


def read(request: Request, asked: Job, *, jobs: Jobs, drawings: Turns) -> FollowUp:
    """The question of a form on the page of the job `asked`. Raises the error that names what is wrong.

    A new mask is a what-if of that job. Without one, a job that is a what-if itself stays one.
    """
    options = options_for(asked.options, request.form.to_dict(flat=False))
    if mask := _new_mask(request, asked, options, jobs, drawings):
        return FollowUp(options, mask, request.form.get("fill") or FILLS[0], parent_of(asked.id, jobs))
    known = asked.options
    return FollowUp(
        options, jobs.mask(asked), known.fill, None if known.parent is None else parent_of(known.parent, jobs)
    )


def options_for(asked: JobOptions, form: Mapping[str, list[str]]) -> CommonOptions:
    """The options of the new job: what the form says, and of the rest what was asked before.

    Raises InvalidOption for a value that no job may have.
    """
    known = asked.common()
    given = {name: value for name, value in known.items() if name not in _CLASSES}
    for name in known:
        if values := [value.strip() for value in form.get(name, []) if value.strip()]:
            given[name] = values if name in LISTS else values[-1]
    return validated(CommonOptions, given)


def _new_mask(request: Request, asked: Job, options: CommonOptions, jobs: Jobs, drawings: Turns) -> bytes | None:
    """The mask that was painted, or that of the hottest region of the first map of the first model."""
    if file := request.files.get("mask"):
        return file.read() or None
    if request.form.get("hide") != HOTTEST:
        return None
    result = jobs.result(asked)
    wanted = (options.models or asked.options.models)[0]
    explanation = result.answer.of(wanted)
    if explanation is None or not explanation.maps:
        raise InvalidOption(f"mask: {wanted!r} has no map in this answer")
    raw = explanation.maps[0].raw(result.maps)
    with drawings.taken(access.sharer()):
        return what_if.hottest(raw, explanation.input.box, (asked.image.width, asked.image.height))
