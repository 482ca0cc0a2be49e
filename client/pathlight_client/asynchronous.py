"""The client for programs that do other things meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Unpack

import httpx

from pathlight_client import contract
from pathlight_client.contract import Batch, Call, Events, Job, Named, Unreachable
from pathlight_client.options import BatchOptions, Options, Picture


class AsyncPathlight:
    """As `pathlight_client.Pathlight`, with coroutines."""

    def __init__(
        self, address: str, *, api_key: str | None = None, timeout: float = 30.0, attempts: int = contract.ATTEMPTS
    ) -> None:
        self.address = address.rstrip("/")
        self._attempts = attempts
        self._timeout = timeout
        headers = {"X-API-Key": api_key} if api_key else {}
        self._http = httpx.AsyncClient(base_url=self.address, headers=headers, timeout=timeout)

    async def __aenter__(self) -> AsyncPathlight:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(self, picture: Picture | None = None, **options: Unpack[Options]) -> Job:
        """Submit a picture: a file's path or its bytes; without one, `image_url` or `parent` says which is meant.
        Returns the job as accepted."""
        return contract.document(await self._send(contract.submission(picture, **options)))

    async def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return contract.document(await self._send(contract.job_call(job_id)))

    async def wait(self, job_id: str, *, seconds: float | None = None) -> Job:
        """Wait until the job has ended: by its event stream, or by polling where that is not to be had. Raises
        TimeoutError after `seconds`."""
        until = None if seconds is None else time.monotonic() + seconds
        for source in (self.follow(job_id, until=until), self._polled(job_id, until)):
            async for job in source:
                if job["status"] in contract.TERMINAL:
                    return job
        raise TimeoutError(f"job {job_id} has not ended within {seconds:g} s")

    async def follow(self, job_id: str, *, until: float | None = None) -> AsyncIterator[Job]:
        """The job at every change, as its event stream tells; ends early where the stream is refused or cut, or at
        `until` on the monotonic clock."""
        events, path = Events(), f"{contract.API}/jobs/{job_id}/events"
        timeout = contract.patience(self._timeout, until)
        with suppress(httpx.HTTPError, ValueError, TimeoutError):
            async with self._http.stream("GET", path, timeout=timeout) as stream:
                if not stream.is_success:
                    return
                lines = stream.aiter_lines()
                while (line := await _next(lines, until)) is not None:
                    if (job := events.feed(line)) is not None:
                        yield job

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job. Raises Refused (409) where it has ended already."""
        return contract.document(await self._send(contract.cancelling(job_id)))

    async def jobs(self, *, status: str | None = None, limit: int = 50) -> AsyncIterator[Job]:
        """All jobs without their results, newest first; `limit` are asked for at a time."""
        call: Call | None = contract.listing(status=status, limit=limit)
        while call is not None:
            page = contract.document(await self._send(call))
            for job in page["jobs"]:
                yield job
            call = contract.following(page["next"]) if page["next"] else None

    async def submit_batch(self, pictures: Sequence[Picture | Named], **options: Unpack[BatchOptions]) -> Batch:
        """Submit many pictures under one set of options, or one archive of pictures. Returns the batch as accepted."""
        return contract.document(await self._send(contract.batch_submission(pictures, **options)))

    async def batch(self, batch_id: str) -> Batch:
        """The batch as it stands: how many of its pictures wait, run and have ended."""
        return contract.document(await self._send(contract.batch_call(batch_id)))

    async def members(self, batch_id: str, *, maps: bool = False, limit: int = 32) -> AsyncIterator[Job]:
        """The jobs of a batch in the order of its pictures, with their raw maps where wanted; `limit` are asked for
        at a time."""
        call: Call | None = contract.members_call(batch_id, maps=maps, limit=limit)
        while call is not None:
            page = contract.document(await self._send(call))
            for member in page["members"]:
                yield member
            call = contract.following(page["next"]) if page["next"] else None

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel what of a batch has not ended. Raises Refused (409) where all has."""
        return contract.document(await self._send(contract.cancelling_batch(batch_id)))

    async def artifact(self, job_id: str, name: str) -> bytes:
        """A file of a job's answer by its name, or `bundle.zip` with all of them."""
        return contract.checked(await self._send(contract.file_call(job_id, name))).content

    async def models(self) -> list[dict[str, Any]]:
        """The service's models, ready or not."""
        answer = contract.document(await self._send(Call("GET", f"{contract.API}/models")))
        found: list[dict[str, Any]] = answer["models"]
        return found

    async def _polled(self, job_id: str, until: float | None) -> AsyncIterator[Job]:
        """The job now and then; ends at `until`."""
        pauses = contract.pauses()
        for pause in itertools.chain(pauses, itertools.repeat(pauses[-1])):
            yield contract.document(await self._send(contract.job_call(job_id), until=until))
            if not (left := contract.left(until)):
                return
            await asyncio.sleep(min(pause, left))

    async def _send(self, call: Call, *, until: float | None = None) -> httpx.Response:
        """Send a request, again where the service could not take it just then. Raises TimeoutError where it cannot be
        sent again before `until`."""
        for attempt in itertools.count(1):
            response, timeout = None, contract.patience(self._timeout, until)
            try:
                response = await self._http.request(call.method, call.path, timeout=timeout, **call.arguments)
            except httpx.TransportError as error:
                if contract.pause_before_retry(None, attempt, attempts=self._attempts) is None:
                    raise Unreachable(f"{self.address} does not answer: {error}; is it running?") from error
            pause = contract.pause_before_retry(response, attempt, attempts=self._attempts)
            if response is not None and pause is None:
                return response
            await asyncio.sleep(contract.affordable(pause or 0.0, until))
        raise AssertionError("the attempts are bounded")


async def _next(lines: AsyncIterator[str], until: float | None) -> str | None:
    """The next line of a stream; None at its end. Raises TimeoutError at `until`."""
    async with asyncio.timeout(None if until is None else contract.left(until)):
        return await anext(lines, None)
