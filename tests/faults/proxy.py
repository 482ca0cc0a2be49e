"""A loopback proxy in front of Redis that loses replies: the command was carried out, and its answer never comes."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from types import TracebackType

CHUNK = 1 << 16


class LossyProxy:
    """Listens on `port` of the loopback address. Of the chunks that the server sends, `share` are dropped together with
    their connection, while it is `on`."""

    def __init__(self, socket: Path, *, share: float, seed: int) -> None:
        self.port = 0
        self.dropped = 0
        self.on = False
        self._socket = socket
        self._share = share
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> LossyProxy:
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _cancel(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            above, below = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            writer.close()
            return
        pumps = [
            asyncio.ensure_future(self._pump(reader, below, lossy=False)),
            asyncio.ensure_future(self._pump(above, writer, lossy=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            below.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lossy: bool) -> None:
        try:
            while data := await reader.read(CHUNK):
                if lossy and self.on and self._random.random() < self._share:
                    self.dropped += 1
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            return
