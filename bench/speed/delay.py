"""A loopback proxy that adds a fixed time to every round trip, as a network between two machines would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK = 1 << 16


@contextmanager
def delayed(socket: Path, *, seconds: float) -> Iterator[int]:
    """A TCP port on loopback that leads to the server on `socket`, whose answers come `seconds` later."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = Future()

    async def pair(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near_reader, near_writer = await asyncio.open_unix_connection(str(socket))
        await asyncio.gather(_copy(reader, near_writer, 0.0), _copy(near_reader, writer, seconds))

    async def serve() -> None:
        stop = asyncio.Event()
        server = await asyncio.start_server(pair, "127.0.0.1", 0)
        started.set_result((asyncio.get_running_loop(), stop, server.sockets[0].getsockname()[1]))
        await stop.wait()
        server.close()
        await asyncio.sleep(0.01)  # the closed connections want a turn of the loop

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="delay", daemon=True)
    thread.start()
    loop, stop, port = started.result()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass on what comes, each piece `seconds` after it came; pieces on their way do not hold up one another."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(ConnectionError):
            while piece := await reader.read(CHUNK):
                if seconds:
                    loop.call_later(seconds, _write, writer, piece)
                else:
                    writer.write(piece)
        await asyncio.sleep(seconds)
    finally:
        writer.close()


def _write(writer: asyncio.StreamWriter, piece: bytes) -> None:
    if not writer.is_closing():
        writer.write(piece)
