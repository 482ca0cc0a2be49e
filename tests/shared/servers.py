"""Small servers on loopback that stand in for the addresses of strangers."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Heard:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[http.server.BaseHTTPRequestHandler, Heard], None]


@dataclass
class Server:
    """A running server and what it heard so far."""

    port: int
    heard: list[Heard] = field(default_factory=list)


def answer(status: int, body: bytes = b"", **headers: str) -> Reply:
    """Always the same answer."""

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


@contextmanager
def serving(reply: Reply, *, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Server]:
    """A server on 127.0.0.1 that answers every request with `reply`."""
    server = Server(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            heard = Heard(self.command, self.path, headers, body)
            server.heard.append(heard)
            try:
                reply(self, heard)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = do_POST = handle_one

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None: ...

    with Quiet(("127.0.0.1", port), Handler) as listening:
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        server.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        listening.shutdown()
