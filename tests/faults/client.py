"""A client that writes down what it is told. One connection of its own; not shared between threads."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

from shared.jobs import TERMINAL
from tests.faults.history import Polled, Recorder, Submitted, now
from tests.faults.pictures import Marked

JOBS = "/api/v1/jobs"
TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 90.0  # how long a submit is tried again after a 503 or silence
BOUNDARY = "faults"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Client:
    """Speaks HTTP to the service under test."""

    def __init__(self, port: int, recorder: Recorder) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self._recorder = recorder

    def close(self) -> None:
        self._connection.close()

    def submit(
        self, picture: Marked, *, row: int, key: str = "", ends: tuple[str, ...] = ("succeeded",), options: str = ""
    ) -> Submitted:
        """Send a job once, and record the answer."""
        began = time.monotonic()
        headers = HEADERS | ({"Idempotency-Key": key} if key else {})
        http_status, body = self._ask("POST", JOBS, body=multipart(picture.png(), options), headers=headers)
        event = Submitted(
            now(),
            row,
            http_status,
            time.monotonic() - began,
            job=body.get("id", ""),
            code=body.get("code", ""),
            key=key,
            digest=picture.digest,
            ends=ends,
        )
        self._recorder.add(event)
        return event

    def deliver(self, picture: Marked, *, row: int, key: str, ends: tuple[str, ...] = ("succeeded",)) -> str:
        """Send a job until it is accepted, as a careful client does, and return its id."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            sent = self.submit(picture, row=row, key=key, ends=ends)
            if sent.http == 202:
                return sent.job
            time.sleep(0.2)
        raise AssertionError(f"row {row}: a job was not accepted within {PATIENCE_SECONDS:.0f} s")

    def poll(self, job: str) -> Polled:
        """Ask about a job, and record the answer."""
        http_status, body = self._ask("GET", f"{JOBS}/{job}")
        event = _polled(job, body) if http_status == 200 else Polled(now(), job, http_status)
        self._recorder.add(event)
        return event

    def cancel(self, job: str) -> int:
        return self._ask("POST", f"{JOBS}/{job}/cancel")[0]

    def ready(self) -> bool:
        return self._ask("GET", "/readyz")[0] == 200

    def _ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of the answer; 0 where none came."""
        repeatable = method == "GET" or "Idempotency-Key" in (headers or {})
        for fresh in (False, True):
            reused = self._connection.sock is not None
            try:
                self._connection.request(method, path, body=body, headers=headers or {})
                response = self._connection.getresponse()
                status, data = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A connection that was kept may have been closed meanwhile, which says nothing about this request.
                if reused and not fresh and repeatable and isinstance(error, ConnectionError):
                    continue
                return 0, {}
            with suppress(ValueError):
                return status, json.loads(data)
            return status, {}
        return 0, {}


def multipart(picture: bytes, options: str = "") -> bytes:
    """The body of a submit; `options` are further parts."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return head.encode() + picture + f"\r\n{options}--{BOUNDARY}--\r\n".encode()


def _polled(job: str, body: dict[str, Any]) -> Polled:
    ended = body["status"] in TERMINAL
    text = json.dumps(body, sort_keys=True)
    return Polled(
        now(),
        job,
        200,
        body["status"],
        body["attempts"],
        digest=body["result"]["provenance"]["versions"]["digest"] if body["result"] else "",
        error=body["error"]["code"] if body["error"] else "",
        finished=datetime.fromisoformat(body["finished_at"]).timestamp() if ended else 0.0,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16] if ended else "",
    )
