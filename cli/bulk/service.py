"""Bulk work through a running service: a few batches under way at a time, patient with a service that restarts."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from cli.bulk.record import failed, faulty
from cli.bulk.sources import Picture
from shared.errors import PathlightError
from shared.images import Limits
from shared.jobs import JobError, JobOptions, JobStatus
from shared.report.outcome import Outcome
from shared.report.rows import Known

UNDER_WAY = 8  # batches at a time: enough to keep several workers busy while results are fetched
PATIENCE_SECONDS = 300.0
WHAT_IF = ("mask", "fill", "parent")  # options of one picture, which a batch does not have
_BATCHES = "/api/v1/batches"
_PAUSES = (0.2, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Sent:
    """A batch under way. `asked` are those of its pictures that were sent."""

    id: str
    pictures: Sequence[Picture]
    asked: Sequence[Picture]


class BulkService:
    """The batches of the service at an address. Every refusal becomes a PathlightError with the service's sentence."""

    def __init__(self, address: str, *, key: str, limits: Limits) -> None:
        headers = {"X-API-Key": key} if key else {}
        self.address = address.rstrip("/")
        self._client = httpx.Client(base_url=self.address, timeout=60, headers=headers)
        self._limits = limits

    def close(self) -> None:
        self._client.close()

    def models(self) -> dict[str, Known]:
        listed = self._ask("GET", "/api/v1/models")["models"]
        return {model["name"]: Known(tuple(model["classes"])) for model in listed}

    def default_models(self) -> tuple[str, ...]:
        return tuple(model["name"] for model in self._ask("GET", "/api/v1/models")["models"] if model["default"])

    def explain_chunks(
        self,
        chunks: Sequence[Sequence[Picture]],
        options: JobOptions,
        *,
        nonce: str,
        watch: Callable[[int], None],
    ) -> Generator[tuple[Sequence[Picture], list[Outcome]], None, None]:
        """Chunks with the outcomes of their pictures, as they are finished. `watch` is told how many pictures of those
        under way have ended. What is under way when this is closed is cancelled."""
        waiting = list(reversed(chunks))
        under_way: list[Sent] = []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < UNDER_WAY:
                    chunk = waiting.pop()
                    under_way.append(self._send(chunk, options, nonce=nonce))
                ended, done = self._ended(under_way)
                watch(done)
                for sent in ended:
                    under_way.remove(sent)
                    yield sent.pictures, self._outcomes(sent)
                if not ended:
                    time.sleep(0.3)
        except (KeyboardInterrupt, GeneratorExit):
            for sent in under_way:
                self._cancel(sent)
            raise

    def _send(self, pictures: Sequence[Picture], options: JobOptions, *, nonce: str) -> Sent:
        asked = [picture for picture in pictures if faulty(picture, self._limits) is None]
        if not asked:
            return Sent("", pictures, asked)
        files = [("image", (picture.file.name, picture.file.read_bytes())) for picture in asked]
        digests = [hashlib.sha256(data).hexdigest() for _, (_, data) in files]
        key = hashlib.sha256(json.dumps([nonce, digests, options.to_dict()]).encode()).hexdigest()
        words = {name: value for name, value in options.to_dict().items() if name not in WHAT_IF}
        given = {name: value for name, value in words.items() if value not in (None, [])}
        headers = {"Idempotency-Key": key}
        batch = self._ask("POST", _BATCHES, files=files, data=given, headers=headers)
        return Sent(batch["id"], pictures, asked)

    def _ended(self, under_way: Sequence[Sent]) -> tuple[list[Sent], int]:
        ended, done = [], 0
        for sent in under_way:
            progress = self._ask("GET", f"{_BATCHES}/{sent.id}")["progress"] if sent.id else {"done": 0, "total": 0}
            done += progress["done"] + len(sent.pictures) - len(sent.asked)
            if progress["done"] == progress["total"]:
                ended.append(sent)
        return ended, done

    def _outcomes(self, sent: Sent) -> list[Outcome]:
        members: list[dict[str, Any]] = []
        address = f"{_BATCHES}/{sent.id}/members?maps=true&limit=32" if sent.id else None
        while address:
            page = self._ask("GET", address)
            members += page["members"]
            address = page["next"]
        by_key = {picture.key: _outcome(picture, one) for picture, one in zip(sent.asked, members, strict=True)}
        return [by_key.get(picture.key) or self._fault(picture) for picture in sent.pictures]

    def _fault(self, picture: Picture) -> Outcome:
        found = faulty(picture, self._limits)
        return found or failed(picture, JobError("invalid_image", "the file changed while it was read"))

    def _cancel(self, sent: Sent) -> None:
        with suppress(httpx.HTTPError):  # where it cannot be told, it ends by itself
            self._client.post(f"{_BATCHES}/{sent.id}/cancel", timeout=5)

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """One request, repeated while the service is away or full. Safe: a batch is sent under its key."""
        until, attempt = time.monotonic() + PATIENCE_SECONDS, 0
        while True:
            try:
                response = self._client.request(method, path, **request)
                body: dict[str, Any] = response.json()
                if not response.is_error:
                    return body
                reason = f"{body.get('code', response.status_code)}: {body.get('detail', 'refused')}"
                passing = response.status_code in (429, 502, 503, 504)
            except httpx.TransportError as error:
                reason, passing = f"{self.address} does not answer ({error}); is it running?", True
            except ValueError:
                reason, passing = f"{self.address} does not answer as Pathlight does", False
            if not passing or time.monotonic() > until:
                raise PathlightError(reason)
            time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1


def _outcome(picture: Picture, member: dict[str, Any]) -> Outcome:
    maps = {
        name.removesuffix(".npy"): np.frombuffer(base64.b64decode(cells["float32"]), "<f4").reshape(cells["shape"])
        for name, cells in (member.get("maps") or {}).items()
    }
    error = JobError(**member["error"]) if member["error"] else None
    status = JobStatus(member["status"])
    if status is not JobStatus.SUCCEEDED and error is None:
        error = JobError(status.value, f"the job was {status.value}")
    return Outcome(
        picture.path,
        status,
        {name: member["image"][name] for name in ("sha256", "width", "height")},
        error,
        member["result"] or {},
        maps,
        picture.label,
        picture.box,
        member["id"],
    )
