"""A running service, as the command line talks to it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from shared.errors import PathlightError
from shared.jobs import JobStatus

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class Service:
    """The HTTP API at an address. Every refusal becomes a PathlightError with the service's own sentence."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._client = httpx.Client(base_url=self.address, timeout=30)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def submit(self, path: Path, *, models: Sequence[str] = (), target: str = "predicted") -> dict[str, Any]:
        data: dict[str, Any] = {"target": target} | ({"models": list(models)} if models else {})
        return self._json("POST", "/api/v1/jobs", data=data, files={"image": (path.name, path.read_bytes())})

    def get(self, job_id: str) -> dict[str, Any]:
        return self._json("GET", f"/api/v1/jobs/{job_id}")

    def wait(self, job_id: str) -> dict[str, Any]:
        """Poll with back-off until the job has ended."""
        pause = FIRST_PAUSE_SECONDS
        while not JobStatus((job := self.get(job_id))["status"]).is_terminal:
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        return job

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, **request)
            body: dict[str, Any] = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PathlightError(
                f"{self.address} does not answer as Pathlight does: {error}; is it running?"
            ) from error
        if response.is_error:
            raise PathlightError(f"{body.get('code', response.status_code)}: {body.get('detail', 'refused')}")
        return body
