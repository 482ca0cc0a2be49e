"""One hostile key: what it sends, and what each of its requests was answered with and has cost the web server."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx

from shared.jobs import TERMINAL
from tests.conftest import wait_for
from tests.faults.cost.meter import Tree

JOBS, BATCHES = "/api/v1/jobs", "/api/v1/batches"
PATIENCE_SECONDS = 120.0
_IDS = re.compile(r"(?:/jobs/|job=)([A-Za-z0-9_-]+)")  # in the address of a page
NO_ANSWER = 0  # the server has closed the connection


@dataclass(frozen=True)
class MeasuredAnswer:
    """The answer to one request. `web_seconds` are those of the web server's processors meanwhile, or its share of
    them where several were sent at once."""

    status: int
    sent: int
    web_seconds: float = 0.0


class Attacker:
    """Sends requests with one key. `share` is how much of everything it sends, 0 to 1."""

    def __init__(
        self, address: str, key: str, web: Tree, *, rng: random.Random, share: float = 1.0, outbound_port: int = 0
    ) -> None:
        self.key = key
        self.random = rng
        self.share = share
        self.peer = f"http://127.0.0.1:{outbound_port}"
        self.answers: list[MeasuredAnswer] = []
        self.jobs: list[str] = []
        self.batches: list[str] = []
        self.patience = 20.0  # seconds that its jobs get to end
        self.accepted = 0  # jobs, those in batches among them
        self._web = web
        self._several = False
        self._lock = threading.Lock()
        # Connections are not kept: one that the server closes between two requests would look like no answer. That is
        # said to the server; where only the client's pool knew, it would close some that are about to be used.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self.client = httpx.Client(
            base_url=address,
            headers={"X-API-Key": key, "Connection": "close"},
            timeout=PATIENCE_SECONDS,
            limits=limits,
            verify=False,  # all is in clear text, and certificates take a while to load
        )

    def amount(self, full: int, *, least: int = 1) -> int:
        """The share of a number."""
        return max(least, round(self.share * full))

    # -- requests ----------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response | None:
        """Send a request, and remember what came of it. None where there was no answer."""
        request = self.client.build_request(method, path, **given)
        sent, before = len(request.read()), self.web_seconds()
        response = None
        with suppress(httpx.TransportError):
            response = self.client.send(request)
        self.remember(response.status_code if response is not None else NO_ANSWER, sent, before)
        return response

    def remember(self, status: int, sent: int, before: float) -> None:
        """An answer to a request, before which the web server's processors had worked for so long."""
        answer = MeasuredAnswer(status, sent, self.web_seconds() - before)
        with self._lock:
            self.answers.append(answer)

    def web_seconds(self) -> float:
        """Of the web server's processors so far; nothing where several requests are on their way."""
        return 0.0 if self._several else self._web.seconds()

    def together(self, calls: Sequence[Callable[[], object]]) -> None:
        """All at once; each counts with an equal share of what they cost."""
        first, before, self._several = len(self.answers), self._web.seconds(), True
        try:
            with ThreadPoolExecutor(max(1, len(calls))) as pool:
                list(pool.map(lambda call: call(), calls))
        finally:
            self._several = False
        share = (self._web.seconds() - before) / max(1, len(self.answers) - first)
        self.answers[first:] = [replace(one, web_seconds=share) for one in self.answers[first:]]

    def submit(self, data: bytes, *, mask: bytes | None = None, **fields: str | list[str]) -> str:
        """Send a picture; the id of its job, or nothing where it is refused."""
        files = {"image": ("a.png", data)} | ({} if mask is None else {"mask": ("mask.png", mask)})
        return self._accepted(self.ask("POST", JOBS, files=files, data=fields), self.jobs)

    def send_json(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        return self._accepted(self.ask("POST", JOBS, content=body, headers=headers), self.jobs)

    def send_batch(self, *files: tuple[str, bytes], **fields: str) -> str:
        parts = [("image", file) for file in files]
        return self._accepted(self.ask("POST", BATCHES, files=parts, data=fields), self.batches)

    def send_form(self, path: str, body: bytes, *, boundary: str = "b") -> None:
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        response = self.ask("POST", path, content=body, headers=headers)
        self._accepted(response, self.batches if path == BATCHES else self.jobs)

    def send_page_form(self, path: str, fields: dict[str, str], **given: Any) -> None:
        """Send a form of the pages, whose answer leads to the pages of its jobs."""
        response = self.ask("POST", path, data=fields, **given)
        found = _IDS.findall(response.headers.get("Location", "")) if response is not None else []
        self.jobs += found
        self.accepted += len(found)

    def _accepted(self, response: httpx.Response | None, ids: list[str]) -> str:
        if response is None or response.status_code != 202:
            return ""
        told = response.json()
        ids.append(str(told["id"]))
        self.accepted += told.get("total", 1)
        return ids[-1]

    def token(self, path: str = "/") -> str:
        """The form token of a page, whose cookie this client now holds."""
        found = re.search(r'name="token" value="([^"]+)"', self.client.get(path).text)
        return found[1] if found else ""

    # -- looking, which is not remembered ----------------------------------------------------------------------------

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"{JOBS}/{job_id}").json()
        return found

    def ended(self, job_id: str) -> str:
        """How a job ends; waits for it."""
        wait_for(lambda: self.job(job_id).get("status") in TERMINAL, seconds=PATIENCE_SECONDS, pause=0.1)
        return str(self.job(job_id)["status"])

    def batch_ended(self, batch_id: str) -> None:
        def finished() -> bool:
            return self.client.get(f"{BATCHES}/{batch_id}").json().get("status") in ("finished", "cancelled")

        wait_for(finished, seconds=PATIENCE_SECONDS, pause=0.2)

    # -- connections that are slow on purpose ------------------------------------------------------------------------

    def read_slowly(self, path: str, *, seconds: float, size: int = 256) -> None:
        """Ask for a file and take a few bytes of it now and then."""
        before = self.web_seconds()
        port = self.client.base_url.port or 80
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(PATIENCE_SECONDS)
            one.connect(("127.0.0.1", port))
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {self.key}\r\nConnection: close\r\n\r\n"
            one.sendall(head.encode())
            status, until = _status(one.recv(size)), time.monotonic() + seconds
            while status == 200 and time.monotonic() < until and one.recv(size):
                time.sleep(0.1)
        self.remember(status, 0, before)


def _status(line: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 ([0-9]{3})", line)
    return int(found[1]) if found else NO_ANSWER
