"""A caller of the API who costs next to nothing: it shares the processor with what is measured."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from shared.documents import API

JOBS, BATCHES = f"{API}/jobs", f"{API}/batches"
_BOUNDARY = "bench-7f3a9c"
_SECONDS = 60.0


class Busy(Exception):
    """The queue is full just now."""


class Caller:
    """One connection to a service, for one thread."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def submit(self, address: str, pictures: Sequence[bytes], models: Sequence[str]) -> str:
        """The id of a new job or batch. Raises Busy, and RuntimeError for any other refusal."""
        parts = [*(_field("models", name) for name in models), *map(_file, pictures)]
        body = b"".join([*parts, f"--{_BOUNDARY}--".encode()])
        head = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        return str(self._ask("POST", address, body, head)["id"])

    def get(self, address: str) -> dict[str, Any]:
        return self._ask("GET", address)

    def events(self, address: str) -> Iterator[dict[str, Any]]:
        """What an event stream tells, to its end."""
        with self._answer("GET", address) as answer:
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def _ask(self, method: str, address: str, body: bytes = b"", head: dict[str, str] | None = None) -> dict[str, Any]:
        with self._answer(method, address, body, head) as answer:
            document: dict[str, Any] = json.loads(answer.read())
        return document

    def _answer(
        self, method: str, address: str, body: bytes = b"", head: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        self._connection.request(method, address, body or None, head or {})
        answer = self._connection.getresponse()
        if answer.status < HTTPStatus.BAD_REQUEST:
            return answer
        problem = answer.read().decode()
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise Busy(problem)
        raise RuntimeError(f"{method} {address} was answered with {answer.status}: {problem}")


def _field(name: str, value: str) -> bytes:
    return f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def _file(data: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n\r\n'
    return head.encode() + data + b"\r\n"
