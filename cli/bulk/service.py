"""Bulk work through a running service: a few batches under way at a time, patient with a service that restarts."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from cli.bulk.record import failed, faulty
from cli.bulk.sources import Picture
from pathlight_client import Batch, Pathlight, Refused, Unreachable
from shared.answer.answer import Answer
from shared.images.decode import Limits
from shared.jobs import ImageRecord, JobError, JobOptions, JobStatus
from shared.report.outcome import Outcome, unanswered
from shared.report.rows import Known

UNDER_WAY = 8  # batches at a time: enough to keep several workers busy while results are fetched
ATTEMPTS = 150  # at each request, two seconds apart: a service may take minutes to come back
POLL_SECONDS = 0.3
NOTHING: Batch = {"total": 0, "progress": {"done": 0, "total": 0}, "counts": {}}  # of pictures none is sent


@dataclass(frozen=True)
class SentBatch:
    """A batch under way. `uploaded` are those of its pictures that were sent."""

    id: str
    pictures: Sequence[Picture]
    uploaded: Sequence[Picture]


class BulkService:
    """The batches of the service at an address. Raises what the client raises."""

    def __init__(self, address: str, *, api_key: str | None, limits: Limits) -> None:
        self._connect = partial(Pathlight, address, api_key=api_key)
        self._pathlight = self._connect(attempts=ATTEMPTS)
        self._limits = limits

    def close(self) -> None:
        """Close the connections to the service."""
        self._pathlight.close()

    def models(self) -> tuple[dict[str, Known], tuple[str, ...]]:
        """The service's models, and the names of those that it asks by default. It is not waited for at the start."""
        with self._connect() as pathlight:
            listed = pathlight.models()
        known = {model["name"]: Known(tuple(model["classes"]), methods=tuple(model["methods"])) for model in listed}
        return known, tuple(model["name"] for model in listed if model["default"])

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
        under_way: list[SentBatch] = []
        try:
            while waiting or under_way:
                while waiting and len(under_way) < UNDER_WAY:
                    under_way.append(self._send(waiting.pop(), options, nonce=nonce))
                ended, done = self._ended(under_way)
                watch(done)
                for sent in ended:
                    under_way.remove(sent)
                    yield sent.pictures, self._outcomes(sent)
                if not ended:
                    time.sleep(POLL_SECONDS)
        except (KeyboardInterrupt, GeneratorExit):
            self._cancel([sent for sent in under_way if sent.id])
            raise

    def _send(self, pictures: Sequence[Picture], options: JobOptions, *, nonce: str) -> SentBatch:
        uploaded = [picture for picture in pictures if faulty(picture, self._limits) is None]
        if not uploaded:
            return SentBatch("", pictures, uploaded)
        files = [(picture.file.name, picture.file.read_bytes()) for picture in uploaded]
        digests = [hashlib.sha256(data).hexdigest() for _, data in files]
        key = hashlib.sha256(json.dumps([nonce, digests, options.to_dict()]).encode()).hexdigest()
        batch = self._pathlight.submit_batch(
            files,
            **options.common(),
            idempotency_key=key,
        )
        return SentBatch(batch["id"], pictures, uploaded)

    def _ended(self, under_way: Sequence[SentBatch]) -> tuple[list[SentBatch], int]:
        """The batches that have ended, and how many pictures have. Batches begin in the order in which they were sent,
        so that those behind one that only waits need not be asked for."""
        ended, done = [], 0
        for sent in under_way:
            batch = self._pathlight.batch(sent.id) if sent.id else NOTHING
            done += batch["progress"]["done"] + len(sent.pictures) - len(sent.uploaded)
            if batch["progress"]["done"] == batch["progress"]["total"]:
                ended.append(sent)
            elif batch["counts"]["queued"] == batch["total"]:
                break
        return ended, done

    def _outcomes(self, sent: SentBatch) -> list[Outcome]:
        members = self._pathlight.members(sent.id, maps=True) if sent.id else ()
        by_key = {picture.key: _outcome(picture, one) for picture, one in zip(sent.uploaded, members, strict=True)}
        return [by_key.get(picture.key) or self._fault(picture) for picture in sent.pictures]

    def _fault(self, picture: Picture) -> Outcome:
        found = faulty(picture, self._limits)
        return found or failed(picture, JobError("invalid_image", "the file changed while it was read"))

    def _cancel(self, under_way: Iterable[SentBatch]) -> None:
        """Where the service cannot be told, the batches end by themselves."""
        with suppress(Unreachable), self._connect(timeout=5, attempts=1) as pathlight:
            for sent in under_way:
                with suppress(Refused):  # it has ended
                    pathlight.cancel_batch(sent.id)


def _outcome(picture: Picture, member: dict[str, Any]) -> Outcome:
    maps = {
        name.removesuffix(".npy"): np.frombuffer(base64.b64decode(cells["float32"]), "<f4").reshape(cells["shape"])
        for name, cells in (member.get("maps") or {}).items()
    }
    error = JobError(**member["error"]) if member["error"] else None
    status = JobStatus(member["status"])
    if status is not JobStatus.SUCCEEDED and error is None:
        error = unanswered(status)
    return Outcome(
        picture.path,
        status,
        ImageRecord(**member["image"]),
        error,
        Answer.from_dict(member["result"]) if member["result"] else None,
        maps,
        picture.label,
        picture.box,
        member["id"],
    )
