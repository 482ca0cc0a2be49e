"""A loopback proxy that cuts every event stream in the middle of its first event."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

STREAM = b"/events "


@contextmanager
def cutting(address: str) -> Iterator[tuple[str, list[int]]]:
    """The proxy's address, and a list that grows by one for each stream that was cut."""
    parts = urlsplit(address)
    cuts: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = server.accept()
                threading.Thread(target=_serve, args=(near, (parts.hostname, parts.port), cuts), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", cuts
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _serve(near: socket.socket, address: tuple[str | None, int | None], cuts: list[int]) -> None:
    with near, socket.create_connection(address) as far:
        streaming = threading.Event()

        def up() -> None:
            with suppress(OSError):
                while piece := near.recv(1 << 16):
                    if STREAM in piece:
                        streaming.set()
                    far.sendall(piece)
                far.shutdown(socket.SHUT_WR)

        threading.Thread(target=up, daemon=True).start()
        seen = b""
        with suppress(OSError):
            while piece := far.recv(1 << 16):
                if streaming.is_set():
                    seen += piece
                    if b"data:" in seen:
                        near.sendall(piece[: len(piece) // 2])
                        cuts.append(len(seen))
                        near.shutdown(socket.SHUT_RDWR)  # closing it alone waits for the other thread to let go
                        return
                near.sendall(piece)
