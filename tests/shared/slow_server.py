"""An HTTP server on the loopback that serves one file, and can be held in the middle of it."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType

CHUNK = 4096


class SlowServer:
    """Serves `content` at `url`. Where it is held, whoever asks gets that many bytes and waits for the rest."""

    def __init__(self, content: bytes) -> None:
        self.asked = 0
        self._content = content
        self._held_at: int | None = None
        self._free = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/w.pth"

    def hold_at(self, count: int) -> None:
        self._held_at = count
        self._free.clear()

    def let_go(self) -> None:
        self._held_at = None
        self._free.set()

    def __enter__(self) -> SlowServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        slow = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                slow.asked += 1
                content = slow._content
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                held_at = slow._held_at
                if held_at is None:
                    self.wfile.write(content)
                    return
                self.wfile.write(content[:held_at])
                self.wfile.flush()
                slow._free.wait()
                self.wfile.write(content[held_at:])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler
