"""A loopback proxy that adds a fixed time to every round trip, as a network between two machines would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.settings import REPOSITORY

CHUNK = 1 << 16


@contextmanager
def delayed(socket: Path, *, seconds: float) -> Iterator[int]:
    """A TCP port on loopback that leads to the server on `socket`, whose answers come `seconds` later. A process of its
    own serves it, so that it takes no turns of whoever measures."""
    command = [sys.executable, "-m", "bench.speed.delay", str(socket), str(seconds)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def _serve(socket: str, seconds: float) -> None:
    async def pair(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near_reader, near_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_copy(reader, near_writer, 0.0), _copy(near_reader, writer, seconds))

    server = await asyncio.start_server(pair, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


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


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2])))
