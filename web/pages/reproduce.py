"""How to get a job's answer again: the commands that ask the same question."""

from __future__ import annotations

import shlex

from shared.cards.methods import METHODS
from shared.jobs import LISTS, Job, JobOptions, singular

_DEFAULTS = JobOptions(methods=METHODS[:1])


def cli_command(job: Job) -> str:
    """The `pathlight explain` that answers here and now, without a server. It compares with no other job."""
    words = ["pathlight", "explain", job.image.filename]
    for name, value in _said(job.options):
        words += [f"--{singular(name)}", value]
    if job.options.mask is not None:
        words += ["--mask", "mask.png", "--fill", job.options.fill]
    return _line(words)


def curl_command(job: Job, *, address: str, keyed: bool) -> str:
    """The call that submits the same job to the API at `address`, with an API key where it wants one."""
    words = ["-F", f"image=@{_file_of_form(job.image.filename)}"]
    for name, value in _said(job.options):
        words += ["-F", f"{name}={value}"]
    if job.options.mask is not None:
        words += ["-F", "mask=@mask.png", "-F", f"fill={job.options.fill}"]
    if job.options.parent is not None:
        words += ["-F", f"parent={job.options.parent}"]
    key = '-H "X-API-Key: $PATHLIGHT_API_KEY" ' if keyed else ""
    return f"curl {key}{_line([*words, address])}"


def _file_of_form(name: str) -> str:
    """A file's name as `curl -F` reads it: in quotes, where a comma or semicolon would end it."""
    return '"{}"'.format(name.replace('"', r"\"")) if any(sign in name for sign in ',;"') else name


def _said(options: JobOptions) -> list[tuple[str, str]]:
    """The models, and whatever differs from the defaults."""
    said = [("models", name) for name in options.models]
    for name, value in options.common().items():
        if name != "models" and value is not None and value != getattr(_DEFAULTS, name):
            said += [(name, one) for one in (value if name in LISTS else (value,))]
    return said


def _line(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)
