"""From a request to a checked submission: the picture's header and every option, before anything is stored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from flask import Request
from pydantic import ValidationError

from shared import options as job_options
from shared.cards import Registry
from shared.errors import ImageTooLarge, InvalidImage, InvalidOption
from shared.images import Limits, read_header
from shared.jobs import ImageRecord, JobOptions
from shared.settings import Settings
from shared.store import Submission
from web import access
from web.problems import BadRequest
from web.schemas import JsonSubmission, Options

LONGEST_FILENAME = 120
LONGEST_KEY = 200
_LISTS = ("models", "methods")
T = TypeVar("T", bound=Options)


def read(request: Request, *, settings: Settings, registry: Registry) -> tuple[Submission, bytes]:
    """The submission and the picture's bytes. Raises the error that names what is wrong."""
    if request.mimetype == "application/json":
        data, filename, options = _read_json(request, settings)
    elif request.mimetype == "multipart/form-data":
        data, filename, options = _read_form(request)
    else:
        raise BadRequest("send multipart/form-data with an image part, or application/json with image_base64")
    return check(data, filename, options, key=idempotency_key(request), settings=settings, registry=registry), data


def check(
    data: bytes, filename: str, options: Options, *, key: str, settings: Settings, registry: Registry
) -> Submission:
    """Check picture and options against limits and models. The job will be the caller's."""
    header = read_header(data, Limits.of(settings))
    chosen = choose(options, settings=settings, registry=registry)
    image = ImageRecord(
        hashlib.sha256(data).hexdigest(), header.width, header.height, header.format, safe_filename(filename)
    )
    return Submission(
        options=chosen,
        image=image,
        owner=access.caller().owner,
        idempotency_key=key,
        body_hash=digest(image.sha256, chosen.to_dict()),
        answer_key=answer_key(image, chosen, registry),
        solo=job_options.is_long(chosen),
    )


def choose(options: Options, *, settings: Settings, registry: Registry) -> JobOptions:
    """The options of a job, checked against the models; those that are left out as configured."""
    chosen = JobOptions(
        models=tuple(dict.fromkeys(options.models if options.models is not None else settings.default_models)),
        methods=tuple(dict.fromkeys(options.methods)),
        target=options.target,
        contrast=options.contrast,
        tree=options.tree,
        trust=options.trust,
    )
    job_options.check(chosen)
    for name in chosen.models:
        registry.get(name)
        registry.ready(name)
    job_options.plan(chosen, registry)
    return chosen


def answer_key(image: ImageRecord, options: JobOptions, registry: Registry) -> str:
    """Names the question: the same picture, options and weights have the same answer."""
    return digest(image.sha256, options.to_dict(), _weights(options, registry))


def safe_filename(name: str) -> str:
    """The last part of a file's name, printable and capped: something to show, never a path."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:LONGEST_FILENAME] or "picture"


def _read_form(request: Request) -> tuple[bytes, str, Options]:
    files = request.files.getlist("image")
    if len(files) != 1 or len(request.files) != 1:
        raise BadRequest("send exactly one file, in the part named image")
    fields = from_form({name: request.form.getlist(name) for name in request.form})
    return files[0].read(), files[0].filename or "", validate(Options, fields)


def from_form(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """A form's fields as options: some are lists, the others are given once; empty ones are left out."""
    fields: dict[str, Any] = {}
    for name, values in form.items():
        if name in _LISTS:
            fields[name] = values
        elif len(values) == 1:
            fields[name] = values[0]
        else:
            raise InvalidOption(f"{name}: give it once")
    return {name: value for name, value in fields.items() if value != ""}


def _read_json(request: Request, settings: Settings) -> tuple[bytes, str, Options]:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    submission = validate(JsonSubmission, body)
    if len(submission.image_base64) > settings.image_bytes * 4 // 3 + 8:
        raise ImageTooLarge(f"the picture has more than {settings.image_bytes} bytes")
    try:
        data = base64.b64decode(submission.image_base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImage("image_base64 is not base64") from error
    return data, "", submission


def validate(schema: type[T], fields: Mapping[str, Any]) -> T:
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "body"
        allowed = ", ".join(schema.model_fields)
        hint = f"; known options are {allowed}" if first["type"] == "extra_forbidden" else ""
        raise InvalidOption(f"{name}: {first['msg']}{hint}") from error


def idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise BadRequest(f"Idempotency-Key: at most {LONGEST_KEY} printable characters")
    return key


def _weights(options: JobOptions, registry: Registry) -> dict[str, str]:
    return {name: registry.get(name).weights.sha256 for name in options.models}


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
