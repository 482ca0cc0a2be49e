"""The web server: gunicorn's with threads, in which a connection holds a thread only while a request is answered.

As gunicorn has it, a connection holds one of the threads as soon as it is opened, while it sends what is not read, and
while it does not read what is sent; a few hundred such connections would keep everybody out. And when the server closes
a connection, its main thread waits up to two seconds for the other end to do the same: a single client that does not
would keep everybody out. Here the main thread reads the heads of requests, and waits for nobody.
"""

from __future__ import annotations

import fcntl
import resource
import selectors
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 10.0  # that the head of a request may take to arrive
STALLED_SECONDS = 30.0  # in which a body must bring another byte, and an answer be read on
DRAIN_SECONDS = 0.05  # for what a request brought and nobody reads, before its connection is closed instead of kept
LINGER_SECONDS = 2.0  # for which a connection is read on after the last answer: closed at once, it may cut that off
LINGER_BYTES = 1 << 20
ALIVE_SECONDS = 1.0  # between the signs of life for gunicorn: each writes to a file system, as slow as a small answer
LONGEST_HEAD = 1 << 15  # bytes
MOST_FILES = 8192  # that are open at a time: of each connection its socket, what it uploads, and one to Redis
_END = b"\r\n\r\n"
_BARE_END = b"\n\n"  # which is none
_REFUSAL = b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LONG = _REFUSAL % b"431 Request Header Fields Too Large"
_NO_HTTP = _REFUSAL % b"400 Bad Request"


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's, of which the server itself makes an end. `head` is what has arrived of the next request."""

    def __init__(self, *given: Any, linger: Callable[[Connection], None]) -> None:
        super().__init__(*given)
        self._linger = linger
        self.head = bytearray()
        self.drained = 0
        patience = struct.pack("ll", int(STALLED_SECONDS), 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self._linger(self)
        else:
            super().close()

    def received(self, most: int) -> bytes | None:
        """What has arrived; nothing where the other end sends no more, None where it has not sent more yet."""
        try:
            return bytes(self.sock.recv(most))
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def hand_over(self) -> None:
        """Give what has arrived to the parser, which reads on from there."""
        self.init()
        self.parser.unreader.buf.write(self.head)
        self.head.clear()

    @property
    def is_behind(self) -> bool:
        """Whether the other end has not taken the last answer: the next would wait for it, and hold its thread."""
        if not self.initialized:  # there was none yet
            return False
        with suppress(OSError):  # the system does not say
            return struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4))) != (0,)
        return False

    def refusal(self) -> bytes:
        """What to answer to a head that is none; nothing while it may become one, or is one."""
        begins_well = self.head[:1].isalpha() or self.head[:1] in b"\r\n"
        if self.head.find(_END, 0, LONGEST_HEAD) >= 0:
            return b"" if begins_well else _NO_HTTP
        if not begins_well or _BARE_END in self.head:
            return _NO_HTTP
        return _TOO_LONG if len(self.head) >= LONGEST_HEAD else b""


class Server(ThreadWorker):  # type: ignore[misc]
    """`wsgi` is the application. `_waiting` are the connections whose head is not there, `_lingering` those that have
    been answered and are to be closed, both with the time at which each is closed, oldest first; they are the main
    thread's."""

    wsgi: Callable[..., Any]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._waiting: dict[Connection, float] = {}
        self._lingering: dict[Connection, float] = {}
        self._answering = threading.local()  # its `connection` is the one that this thread answers
        self._notified = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Raises ConfigError for what stands before the head of a request, and is not read here."""
        super().check_config(cfg, log)
        if cfg.is_ssl or cfg.proxy_protocol != "off":
            raise ConfigError("this server speaks plain HTTP; put a proxy in front of it for TLS")

    def init_process(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        super().init_process()

    # -- the heads of requests ---------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Take a connection."""
        try:
            connected, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone
            return
        except OSError:  # no further file can be opened
            self._make_room()
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        conn = Connection(self.cfg, connected, address, listener.getsockname(), linger=self._linger)
        self._await_head(conn, self.poller.register)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """A connection that was kept gets its next request."""
        self.keepalived_conns.remove(conn)
        self._await_head(conn, self.poller.modify)

    def _await_head(self, conn: Connection, watch: Callable[..., object]) -> None:
        self._waiting[conn] = time.monotonic() + HEAD_SECONDS
        watch(conn.sock, selectors.EVENT_READ, partial(self._look, conn))
        self._look(conn)

    def _look(self, conn: Connection, _: object = None) -> None:
        """Hand a connection to a thread if its head is there, or if no more comes."""
        if conn not in self._waiting:  # it was closed when another was accepted, after the system had named it
            return
        found = conn.received(LONGEST_HEAD)
        if found is None:
            return
        conn.head += found
        if not conn.head or conn.is_behind:
            self._close(conn)
        elif refusal := conn.refusal():
            with suppress(OSError):
                conn.sock.send(refusal)
            self._close(conn, graceful=True)
        elif not found or _END in conn.head:
            self._leave(conn)
            conn.hand_over()
            self.enqueue_req(conn)

    def _leave(self, conn: Connection) -> None:
        """It waits no longer."""
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _close(self, conn: Connection, *, graceful: bool = False) -> None:
        self._leave(conn)
        self.nr_conns -= 1
        conn.close(graceful=graceful)

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its next request."""
        if self._waiting:
            self._close(next(iter(self._waiting)))
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        elif self._lingering:
            self._end(next(iter(self._lingering)))

    # -- the ends of connections -------------------------------------------------------------------------------------

    def handle_request(self, req: Any, conn: Connection) -> bool:
        self._answering.connection = conn
        return bool(super().handle_request(req, conn))

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi = partial(self._application, self.wsgi)

    def _application(self, answer: Callable[..., Any], environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request, and say in the head of the answer if the connection is closed after it: a client that has
        sent its next request before it sees the end does not know whether that was heard."""
        conn: Connection = self._answering.connection

        def start(*head: Any) -> Any:
            if not _is_read(conn):
                start_response.__self__.force_close()
            return start_response(*head)

        return answer(environ, start)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Whether a connection is kept, as the head of the answer has said."""
        return keepalive

    def _linger(self, conn: Connection) -> None:
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the other end has gone, or the thread has closed it
            conn.close()
            return
        self._lingering[conn] = time.monotonic() + LINGER_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        if len(self._lingering) > self.worker_connections:
            self._end(next(iter(self._lingering)))

    def _drain(self, conn: Connection, _: object) -> None:
        if conn not in self._lingering:  # as above
            return
        found = conn.received(1 << 16)
        if found is None:
            return
        conn.drained += len(found)
        if not found or conn.drained > LINGER_BYTES:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        conn.close()

    # -- time --------------------------------------------------------------------------------------------------------

    def notify(self) -> None:
        now = time.monotonic()
        if now - self._notified >= ALIVE_SECONDS:
            self._notified = now
            super().notify()

    def murder_pending(self) -> None:
        """Close what has waited or lingered for too long."""
        super().murder_pending()
        now = time.monotonic()
        while self._waiting and next(iter(self._waiting.values())) < now:
            self._close(next(iter(self._waiting)))
        while self._lingering and next(iter(self._lingering.values())) < now:
            self._end(next(iter(self._lingering)))
        if self.alive and self.nr_conns >= self.worker_connections:
            self._make_room()

    def _cap_keepalive(self, deadline: float) -> None:
        """When the server stops, heads that are on their way have as long as a connection that is kept."""
        super()._cap_keepalive(deadline)
        self._waiting = {conn: min(until, deadline) for conn, until in self._waiting.items()}


def _is_read(conn: Connection) -> bool:
    """Whether the request is read to its end; what nobody asked for is read here. It is not where more of it is to
    come, or where more than a request came: clients send the next one when they have the answer."""
    drained = conn.parser.finish_body(deadline=time.monotonic() + DRAIN_SECONDS)
    return bool(drained) and not conn.parser.unreader.buf.getvalue()
