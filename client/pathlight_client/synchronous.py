"""The client for programs that wait."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Unpack

import httpx

from pathlight_client import contract
from pathlight_client.contract import Batch, Call, Events, Job, Named, Unreachable
from pathlight_client.options import BatchOptions, Options, Picture


class Pathlight:
    """A Pathlight service at an address. Raises Refused where it says no, Unreachable where nobody answers in so many
    attempts."""

    def __init__(
        self, address: str, *, api_key: str | None = None, timeout: float = 30.0, attempts: int = contract.ATTEMPTS
    ) -> None:
        self.address = address.rstrip("/")
        self._attempts = attempts
        self._timeout = timeout
        headers = {"X-API-Key": api_key} if api_key else {}
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=timeout)

    def __enter__(self) -> Pathlight:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, picture: Picture | None = None, **options: Unpack[Options]) -> Job:
        """Submit a picture: a file's path or its bytes; without one, `image_url` or `parent` says which is meant.
        Returns the job as accepted."""
        return contract.document(self._send(contract.submission(picture, **options)))

    def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return contract.document(self._send(contract.job_call(job_id)))

    def wait(self, job_id: str, *, seconds: float | None = None) -> Job:
        """Wait until the job has ended: by its event stream, or by polling where that is not to be had. Raises
        TimeoutError after `seconds`."""
        until = None if seconds is None else time.monotonic() + seconds
        for job in itertools.chain(self.follow(job_id, until=until), self._polled(job_id, until)):
            if job["status"] in contract.TERMINAL:
                return job
        raise TimeoutError(f"job {job_id} has not ended within {seconds:g} s")

    def follow(self, job_id: str, *, until: float | None = None) -> Iterator[Job]:
        """The job at every change, as its event stream tells; ends early where the stream is refused or cut, or at
        `until` on the monotonic clock."""
        events, path = Events(), f"{contract.API}/jobs/{job_id}/events"
        timeout = contract.patience(self._timeout, until)
        with suppress(httpx.HTTPError, ValueError), self._http.stream("GET", path, timeout=timeout) as stream:
            if not stream.is_success:
                return
            with _cut(stream, until):
                for line in stream.iter_lines():
                    if (job := events.feed(line)) is not None:
                        yield job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job. Raises Refused (409) where it has ended already."""
        return contract.document(self._send(contract.cancelling(job_id)))

    def jobs(self, *, status: str | None = None, limit: int = 50) -> Iterator[Job]:
        """All jobs without their results, newest first; `limit` are asked for at a time."""
        call: Call | None = contract.listing(status=status, limit=limit)
        while call is not None:
            page = contract.document(self._send(call))
            yield from page["jobs"]
            call = contract.following(page["next"]) if page["next"] else None

    def submit_batch(self, pictures: Sequence[Picture | Named], **options: Unpack[BatchOptions]) -> Batch:
        """Submit many pictures under one set of options, or one archive of pictures. Returns the batch as accepted."""
        return contract.document(self._send(contract.batch_submission(pictures, **options)))

    def batch(self, batch_id: str) -> Batch:
        """The batch as it stands: how many of its pictures wait, run and have ended."""
        return contract.document(self._send(contract.batch_call(batch_id)))

    def members(self, batch_id: str, *, maps: bool = False, limit: int = 32) -> Iterator[Job]:
        """The jobs of a batch in the order of its pictures, with their raw maps where wanted; `limit` are asked for
        at a time."""
        call: Call | None = contract.members_call(batch_id, maps=maps, limit=limit)
        while call is not None:
            page = contract.document(self._send(call))
            yield from page["members"]
            call = contract.following(page["next"]) if page["next"] else None

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel what of a batch has not ended. Raises Refused (409) where all has."""
        return contract.document(self._send(contract.cancelling_batch(batch_id)))

    def artifact(self, job_id: str, name: str) -> bytes:
        """A file of a job's answer by its name, or `bundle.zip` with all of them."""
        return contract.checked(self._send(contract.file_call(job_id, name))).content

    def models(self) -> list[dict[str, Any]]:
        """The service's models, ready or not."""
        found: list[dict[str, Any]] = contract.document(self._send(Call("GET", f"{contract.API}/models")))["models"]
        return found

    def _polled(self, job_id: str, until: float | None) -> Iterator[Job]:
        """The job now and then; ends at `until`."""
        pauses = contract.pauses()
        for pause in itertools.chain(pauses, itertools.repeat(pauses[-1])):
            yield contract.document(self._send(contract.job_call(job_id), until=until))
            if not (left := contract.left(until)):
                return
            time.sleep(min(pause, left))

    def _send(self, call: Call, *, until: float | None = None) -> httpx.Response:
        """Send a request, again where the service could not take it just then. Raises TimeoutError where it cannot be
        sent again before `until`."""
        for attempt in itertools.count(1):
            response, timeout = None, contract.patience(self._timeout, until)
            try:
                response = self._http.request(call.method, call.path, timeout=timeout, **call.arguments)
            except httpx.TransportError as error:
                if contract.pause_before_retry(None, attempt, attempts=self._attempts) is None:
                    raise Unreachable(f"{self.address} does not answer: {error}; is it running?") from error
            pause = contract.pause_before_retry(response, attempt, attempts=self._attempts)
            if response is not None and pause is None:
                return response
            time.sleep(contract.affordable(pause or 0.0, until))
        raise AssertionError("the attempts are bounded")


@contextmanager
def _cut(stream: httpx.Response, until: float | None) -> Iterator[None]:
    """Cut the line of a stream at `until`, whoever waits for its next word then."""
    if until is None:
        yield
        return
    line = stream.extensions["network_stream"].get_extra_info("socket")

    def cut() -> None:
        with suppress(OSError):
            socket.socket.shutdown(line, socket.SHUT_RDWR)  # also of a line with TLS, whose own would be a last word

    timer = threading.Timer(contract.left(until), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
