"""Others whom the attacker has on his side: a server that takes its time, and readers who do not let go."""

from __future__ import annotations

import http.server
import time
from contextlib import ExitStack, suppress

import httpx

from tests.faults.cost.attacker import Attacker
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
