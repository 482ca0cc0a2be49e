"""Others whom the attacker has on his side: a server that takes its time, and readers who do not let go."""

from __future__ import annotations

import http.server
import socket
import time
from contextlib import ExitStack, suppress

import httpx

from tests.faults.cost.attacker import NO_ANSWER, Attacker
from tests.shared.servers import Heard

DRIP_SECONDS = 0.5
DRIPS = 40  # longer than any exchange with a stranger may take


def drip(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
    """A picture of a million bytes, one now and then; and to a webhook an answer that comes very late."""
    if heard.method == "POST":
        time.sleep(DRIP_SECONDS * DRIPS)
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(DRIPS):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(DRIP_SECONDS)


def hold_streams(attacker: Attacker, path: str, *, count: int, seconds: float) -> None:
    """Open event streams, one after the other, and keep them."""
    with ExitStack() as held:
        for _ in range(count):
            began = attacker.web_seconds()
            status = 0
            with suppress(httpx.TransportError):
                status = held.enter_context(attacker.client.stream("GET", path)).status_code
            attacker.remember(status, 0, began)
        time.sleep(seconds)


def hold_connections(attacker: Attacker, sent: bytes, *, count: int, seconds: float, more: bytes = b"") -> None:
    """Open connections, send the same on each, and keep them, without reading; `more` follows every half second."""
    began = attacker.web_seconds()
    with ExitStack() as held:
        opened = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", attacker.client.base_url.port or 80))
            _send(one, sent)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(DRIP_SECONDS)
            for one in opened:
                _send(one, more)
    attacker.remember(NO_ANSWER, count * len(sent), began)


def _send(one: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server has closed it
        one.sendall(data)
