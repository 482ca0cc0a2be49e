"""The contract's requests and answers as values: what both clients share. No network here."""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import httpx

from pathlight_client.options import BatchOptions, Options, Picture

Job = dict[str, Any]
"""A job as GET /api/v1/jobs/{id} shows it."""

Batch = dict[str, Any]
"""Many pictures under one set of options, as GET /api/v1/batches/{id} shows them."""

Named = tuple[str, bytes]
"""A picture's name, to be shown, and its bytes."""

API = "/api/v1"
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
ATTEMPTS = 6  # at one request that the service could not take just then, where nobody says otherwise
PASSING = (429, 502, 503, 504)  # statuses of a service, or of a proxy before it, that is busy or comes again soon
LONGEST_PAUSE_SECONDS = 2.0  # between two polls
LONGEST_RETRY_SECONDS = 30.0  # whatever the service asks for
_NO_FIELDS = ("idempotency_key", "mask", "image_url")
LEAST_SECONDS = 1.0  # that a request is given, however late it is


class Refused(Exception):
    """The service said no. `code` and `detail` are its own words, `status` the HTTP status."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


class Unreachable(Exception):
    """Nobody answers at the address, or not as Pathlight does."""


@dataclass(frozen=True)
class Call:
    """One request. It may be sent again: what it asks for happens once."""

    method: str
    path: str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of httpx's request


def submission(picture: Picture | None = None, **options: Unpack[Options]) -> Call:
    """The submitting of an image, or of its address, or of neither, where the image of `parent` is meant."""
    headers = _once(options.get("idempotency_key"))
    fields, mask, image_url = _fields(options), options.get("mask"), options.get("image_url")
    if picture is None:
        body = fields | ({} if image_url is None else {"image_url": image_url})
        body |= {} if mask is None else {"mask_base64": base64.b64encode(_file(mask)[1]).decode()}
        return Call("POST", f"{API}/jobs", {"json": body, "headers": headers})
    if image_url is not None:
        raise ValueError("give a picture or image_url, not both")
    files = {"image": _file(picture)} | ({"mask": _file(mask)} if mask is not None else {})
    return Call("POST", f"{API}/jobs", {"data": fields, "files": files, "headers": headers})


def batch_submission(pictures: Sequence[Picture | Named], **options: Unpack[BatchOptions]) -> Call:
    """The submitting of many images at once, or of one archive of images, as `submission`."""
    headers, files = _once(options.get("idempotency_key")), [("image", _file(one)) for one in pictures]
    return Call("POST", f"{API}/batches", {"data": _fields(options), "files": files, "headers": headers})


def batch_call(batch_id: str) -> Call:
    """Reads a batch."""
    return Call("GET", f"{API}/batches/{batch_id}")


def members_call(batch_id: str, *, maps: bool, limit: int) -> Call:
    """Reads a page of at most `limit` members of a batch, with their raw maps where `maps`."""
    params = {"limit": str(limit)} | ({"maps": "true"} if maps else {})
    return Call("GET", f"{API}/batches/{batch_id}/members", {"params": params})


def cancelling_batch(batch_id: str) -> Call:
    """Cancels a batch."""
    return Call("POST", f"{API}/batches/{batch_id}/cancel", {"headers": _once()})


def job_call(job_id: str) -> Call:
    """Reads a job."""
    return Call("GET", f"{API}/jobs/{job_id}")


def cancelling(job_id: str) -> Call:
    """Cancels a job."""
    return Call("POST", f"{API}/jobs/{job_id}/cancel", {"headers": _once()})


def listing(*, status: str | None, limit: int) -> Call:
    """Reads a page of at most `limit` jobs, of one state or of all."""
    return Call("GET", f"{API}/jobs", {"params": {"limit": limit} | ({"status": status} if status else {})})


def following(link: str) -> Call:
    """The page of a list that a link of the service leads to, whatever path the service believes to be reached at."""
    return Call("GET", API + link.rpartition(API)[2])


def file_call(job_id: str, name: str) -> Call:
    """An artifact by its name, or `bundle.zip`."""
    place = name if name == "bundle.zip" else f"artifacts/{name}"
    return Call("GET", f"{API}/jobs/{job_id}/{place}")


def checked(response: httpx.Response) -> httpx.Response:
    """The response where it is a success. Raises Refused, or Unreachable where it is not of the contract."""
    if response.is_success:
        return response
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"{response.url} answers {response.status_code}, not as Pathlight does") from error
    raise Refused(response.status_code, code, detail, retry_after(response))


def document(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises as `checked`."""
    try:
        body = checked(response).json()
    except ValueError as error:
        raise Unreachable(f"{response.url} does not answer as Pathlight does") from error
    if not isinstance(body, dict):
        raise Unreachable(f"{response.url} does not answer as Pathlight does")
    return body


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the service asks to wait."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), LONGEST_RETRY_SECONDS) if text.isdecimal() else None


def pause_before_retry(response: httpx.Response | None, attempt: int, *, attempts: int = ATTEMPTS) -> float | None:
    """Seconds to wait before sending a request again; None where that would change nothing. No response means that
    the connection failed."""
    if attempt >= attempts or (response is not None and response.status_code not in PASSING):
        return None
    asked = retry_after(response) if response is not None else None
    return asked if asked is not None else min(0.1 * 2.0 ** min(attempt, 10), LONGEST_PAUSE_SECONDS)


def left(until: float | None) -> float:
    """Seconds until a moment of the monotonic clock."""
    return math.inf if until is None else max(0.0, until - time.monotonic())


def patience(timeout: float, until: float | None) -> float:
    """Seconds that a request may take: some, even where none are left."""
    return min(timeout, max(left(until), LEAST_SECONDS))


def affordable(pause: float, until: float | None) -> float:
    """The pause, where there is time for it. Raises TimeoutError where there is none."""
    if left(until) <= pause:
        raise TimeoutError("the service could not answer in time")
    return pause


def pauses() -> list[float]:
    """Seconds between the first polls; the last goes on for ever."""
    return [0.05 * 1.5**n for n in range(10)] + [LONGEST_PAUSE_SECONDS]


class Events:
    """Reads the lines of a job's event stream."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def feed(self, line: str) -> Job | None:
        """The job, where the line ends an event. Raises ValueError for an event that holds none."""
        if line.startswith("data:"):
            self._data.append(line[5:].strip())
            return None
        if line or not self._data:
            return None
        job = json.loads("\n".join(self._data))
        self._data.clear()
        if not isinstance(job, dict) or "status" not in job:
            raise ValueError("an event holds no job")
        return job


def _once(key: str | None = None) -> dict[str, str]:
    """The header by which the service knows a request that is sent again."""
    return {"Idempotency-Key": key or secrets.token_urlsafe(16)}


def _fields(options: BatchOptions | Options) -> dict[str, str | list[str]]:
    """The form's fields: what is neither a file nor a header, and is not left out."""
    fields: dict[str, str | list[str]] = {}
    for name, value in options.items():
        if name in _NO_FIELDS or value is None:
            continue
        if not isinstance(value, Sequence) or isinstance(value, str):
            fields[name] = str(value)
        elif value:
            fields[name] = list(value)
    return fields


def _file(picture: Picture | Named) -> Named:
    if isinstance(picture, tuple):
        return picture
    if isinstance(picture, bytes):
        return "picture", picture
    path = Path(picture)
    return path.name, path.read_bytes()
