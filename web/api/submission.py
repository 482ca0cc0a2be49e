"""From a request to a checked submission: the picture's header and every option, before anything is stored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from flask import Request

from shared import json_text, tracing
from shared import options as job_options
from shared.cards.card import Registry
from shared.errors import ImageTooLarge, InvalidImage, InvalidOption, JobConflict, UnknownJob, UnsupportedImage
from shared.images.decode import Header, Limits, read_header
from shared.jobs import FILLS, LISTS, CommonOptions, ImageRecord, Job, JobOptions, JobStatus
from shared.settings import Settings
from shared.store.job_store import Submission
from web.api.jobs import Jobs
from web.api.named_addresses import NamedAddresses
from web.api.schemas import JobForm, JsonSubmission
from web.api.services import Services
from web.http import access
from web.http.problems import BadRequest, Gone

LONGEST_FILENAME = 120
LONGEST_KEY = 200
MOST_VALUES = 1000  # in a JSON body, names counted too
_BASE64_PIECE = 2**18  # characters that are decoded in one step; a multiple of four


@dataclass(frozen=True)
class File:
    """One file of a request."""

    data: bytes
    name: str = ""


def read(request: Request, services: Services) -> tuple[Submission, bytes, bytes | None]:
    """The submission, the picture and the mask of a what-if. Raises the error that names what is wrong."""
    settings, registry, jobs, addresses = services.settings, services.registry(), services.jobs, services.addresses
    if request.mimetype == "application/json":
        picture, mask_file, form = _read_json(request, settings, addresses)
    elif request.mimetype == "multipart/form-data":
        picture, mask_file, form = _read_form(request)
    else:
        raise BadRequest(
            "send multipart/form-data with an image part, or application/json with image_base64 or image_url"
        )
    if form.webhook is not None:
        addresses.vet_webhook(form.webhook)
    parent = None if form.parent is None else parent_of(form.parent, jobs)
    if picture is None:
        if parent is None:
            raise BadRequest("send exactly one picture, in the part named image (image_base64 or image_url in JSON)")
        picture = File(jobs.picture(parent), parent.image.filename)
    mask = mask_file.data if mask_file else None
    submission = check(
        picture.data,
        picture.name,
        form,
        mask=mask,
        fill=form.fill,
        parent=parent,
        webhook=form.webhook or "",
        key=idempotency_key(request),
        settings=settings,
        registry=registry,
    )
    return submission, picture.data, mask


def parent_of(job_id: str, jobs: Jobs) -> Job:
    """The job that a what-if belongs to. Raises InvalidOption where there is none with this id, JobConflict where it
    has no result."""
    try:
        parent = jobs.get(job_id)
    except (UnknownJob, Gone) as error:
        raise InvalidOption("parent: there is no job with this id") from error
    if parent.status is not JobStatus.SUCCEEDED:
        raise JobConflict("parent: the job has not succeeded, so that there is nothing to compare with")
    return parent


def check(
    data: bytes,
    filename: str,
    options: CommonOptions,
    *,
    mask: bytes | None = None,
    fill: str = FILLS[0],
    parent: Job | None = None,
    webhook: str = "",
    key: str,
    settings: Settings,
    registry: Registry,
) -> Submission:
    """Check picture, mask and options against limits and models. The job will be the caller's."""
    limits = Limits.of(settings)
    header = read_header(data, limits)
    chosen = choose(options, settings=settings, registry=registry)
    image = ImageRecord(
        hashlib.sha256(data).hexdigest(), header.width, header.height, header.format, safe_filename(filename)
    )
    if mask is not None:
        _check_mask(mask, header, limits)
        chosen = replace(chosen, mask=hashlib.sha256(mask).hexdigest(), fill=fill)
    if parent is not None:
        if parent.image.sha256 != image.sha256:
            raise InvalidOption("parent: that job is about another picture")
        chosen = replace(chosen, parent=parent.id)
    return Submission(
        options=chosen,
        image=image,
        owner=access.caller().owner,
        idempotency_key=key,
        body_hash=digest(image.sha256, chosen.to_dict(), webhook),
        answer_key=answer_key(image, chosen, registry),
        solo=job_options.is_long(chosen) or header.is_large,
        webhook=webhook,
        request_id=tracing.current().request_id,
        versions=registry.versions(chosen.models),
        sharer=access.sharer(),
        file_bytes=len(data) + len(mask or b""),
    )


def choose(options: CommonOptions, *, settings: Settings, registry: Registry) -> JobOptions:
    """The options of a job, checked against the models; those that are left out as configured, or as is best."""
    models = tuple(dict.fromkeys(options.models or settings.default_models))
    able = (registry.get(name).methods for name in models)
    methods = tuple(dict.fromkeys(options.methods or job_options.best_methods(able)))
    chosen = JobOptions(**options.common() | {"models": models, "methods": methods})
    job_options.check(chosen)
    for name in chosen.models:
        registry.get(name)
        registry.ready(name)
    job_options.plan(chosen, registry)
    return chosen


def answer_key(image: ImageRecord, options: JobOptions, registry: Registry) -> str:
    """Names the question: the same picture, options and models have the same answer."""
    return digest(image.sha256, options.to_dict(), registry.versions(options.models))


def safe_filename(name: str) -> str:
    """The last part of a file's name, printable and capped: something to show, never a path."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c for c in last if c.isprintable())[:LONGEST_FILENAME] or "picture"


def _check_mask(mask: bytes, picture: Header, limits: Limits) -> None:
    """By its header, as the picture is."""
    try:
        found = read_header(mask, limits)
    except InvalidImage as error:
        raise type(error)(f"mask: {error}") from error
    if found.format != "PNG":
        raise UnsupportedImage(f"mask: it is a {found.format} picture; send a PNG")
    if (found.width, found.height) != (picture.width, picture.height):
        sizes = f"{found.width} x {found.height} pixels, the picture {picture.width} x {picture.height}"
        raise InvalidOption(f"mask: it has {sizes}; both must have the same")


def _read_form(request: Request) -> tuple[File | None, File | None, JobForm]:
    if unknown := sorted(set(request.files) - {"image", "mask"}):
        raise BadRequest(f"{unknown[0]}: files are taken in the parts named image and mask")
    picture, mask = (_only_file(request, name) for name in ("image", "mask"))
    fields = from_form({name: request.form.getlist(name) for name in request.form})
    return picture, mask, job_options.validated(JobForm, fields)


def _only_file(request: Request, name: str) -> File | None:
    """The one file of a part; None where there is none, or where a form's field for it was left empty."""
    files = request.files.getlist(name)
    if len(files) > 1:
        raise BadRequest(f"send exactly one file in the part named {name}")
    if not files:
        return None
    data, filename = files[0].read(), files[0].filename or ""
    return File(data, filename) if data or filename else None


def from_form(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """A form's fields as options: some are lists, the others are given once; empty ones are left out."""
    fields: dict[str, Any] = {}
    for name, values in form.items():
        if name in LISTS:
            fields[name] = values
        elif len(values) == 1:
            fields[name] = values[0]
        else:
            raise InvalidOption(f"{name}: give it once")
    return {name: value for name, value in fields.items() if value != ""}


def _read_json(
    request: Request, settings: Settings, addresses: NamedAddresses
) -> tuple[File | None, File | None, JobForm]:
    try:
        body = json_text.decode_few(request.get_data(cache=False), most=MOST_VALUES)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON that is taken: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body is not a JSON object")
    submission = job_options.validated(JsonSubmission, body)
    picture = _decoded("image_base64", submission.image_base64, settings)
    if submission.image_url is not None:
        if picture is not None:
            raise BadRequest("send image_base64 or image_url, not both")
        picture = File(*addresses.fetch(submission.image_url))
    mask = _decoded("mask_base64", submission.mask_base64, settings)
    return picture, mask, submission


def _decoded(name: str, text: str | None, settings: Settings) -> File | None:
    if text is None:
        return None
    if len(text) > settings.image_bytes * 4 // 3 + 8:
        raise ImageTooLarge(f"{name}: the picture has more than {settings.image_bytes} bytes")
    try:
        return File(b"".join(_from_base64(text)))
    except (binascii.Error, ValueError) as error:
        raise InvalidImage(f"{name} is not base64") from error


def _from_base64(text: str) -> Iterator[bytes]:
    """Piece by piece: a step over all of a large text would let no other thread on for a tenth of a second. Raises
    ValueError."""
    if 0 <= text.find("=") < len(text) - 2:
        raise ValueError("something stands behind the end")
    for start in range(0, len(text), _BASE64_PIECE):
        yield base64.b64decode(text[start : start + _BASE64_PIECE], validate=True)


def idempotency_key(request: Request) -> str:
    """The header `Idempotency-Key`; empty where there is none. Raises BadRequest where it is too long or not
    printable."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise BadRequest(f"Idempotency-Key: at most {LONGEST_KEY} printable characters")
    return key


def digest(*parts: object) -> str:
    """The SHA-256 of some values, which JSON can hold, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
