"""The web server: gunicorn's with threads, in which a connection holds a thread only while a request is answered.

As gunicorn has it, a connection holds one of the threads as soon as it is opened, so that a few hundred on which
nothing comes, or a byte now and then, would keep everybody out. And when the server closes a connection, its main
thread waits up to two seconds for the other end to do the same: a single client that does not would keep everybody out.
"""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 10.0  # that the head of a request may take to arrive
LINGER_SECONDS = 2.0  # for which a connection is read on after the last answer: closed at once, it may cut that off
LINGER_BYTES = 1 << 20
LONGEST_HEAD = 1 << 15  # bytes
_END = b"\r\n\r\n"
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MOST_FILES = 8192  # that are open at a time: of each connection its socket, what it uploads, and one to Redis


class Connection(TConn):  # type: ignore[misc]
    """gunicorn's, of which the server itself makes an end. `head` is what has arrived of the next request."""

    def __init__(self, *given: Any, linger: Callable[[Connection], None]) -> None:
        super().__init__(*given)
        self._linger = linger
        self.head = bytearray()
        self.drained = 0

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self._linger(self)
        else:
            super().close()

    def hand_over(self) -> None:
        """Give what has arrived to the parser, which reads on from there."""
        self.init()
        self.parser.unreader.buf.write(self.head)
        self.head.clear()


class Server(ThreadWorker):  # type: ignore[misc]
    """`_waiting` are the connections whose head is not there, oldest first, with the time at which each is closed.
    `_lingering` have been answered and are to be closed, oldest first, with the time at which each is. All runs in the
    main thread."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._waiting: dict[Connection, float] = {}
        self._lingering: dict[Connection, float] = {}

    def init_process(self) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Take a connection. Where there are as many as there may be, the one goes that has waited longest."""
        try:
            connected, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it has gone
            return
        except OSError:  # no further file can be opened
            self._close_oldest()
            return
        self.nr_conns += 1
        self._await_head(Connection(self.cfg, connected, address, listener.getsockname(), linger=self._linger))
        if self.nr_conns >= self.worker_connections:
            self._close_oldest()

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """A connection that was kept gets its next request."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def _await_head(self, conn: Connection) -> None:
        if self.cfg.is_ssl:  # what arrives is for the thread to decipher
            self.enqueue_req(conn)
            return
        self._waiting[conn] = time.monotonic() + HEAD_SECONDS
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._look, conn))
        self._look(conn)

    def _look(self, conn: Connection, _: object = None) -> None:
        """Hand a connection to a thread if its head is there, or if no more comes."""
        if conn not in self._waiting:  # it was closed when another was accepted, after the system had named it
            return
        try:
            found = conn.sock.recv(LONGEST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            found = b""
        seen = max(0, len(conn.head) - len(_END))
        conn.head += found
        if conn.head.find(_END, seen) >= 0 or (conn.head and not found):
            self._leave(conn)
            conn.hand_over()
            self.enqueue_req(conn)
        elif not found:
            self._close(conn)
        elif len(conn.head) > LONGEST_HEAD:
            with suppress(OSError):
                conn.sock.send(_TOO_LONG)
            self._close(conn, graceful=True)

    def _leave(self, conn: Connection) -> None:
        """It waits no longer."""
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Whether a connection is kept. It is not where a part of the next head was read with the last request."""
        is_kept = super()._keepalive_after(conn, keepalive)
        ahead = conn.parser.unreader.buf.getvalue()
        return is_kept and (not ahead or _END in ahead)

    def _close_oldest(self) -> None:
        for conn in list(self._waiting)[:1]:
            self._close(conn)

    def _close(self, conn: Connection, *, graceful: bool = False) -> None:
        self._leave(conn)
        self.nr_conns -= 1
        conn.close(graceful=graceful)

    def _linger(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the other end has gone
            conn.close()
            return
        self._lingering[conn] = time.monotonic() + LINGER_SECONDS
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        if len(self._lingering) > self.worker_connections:
            self._end(next(iter(self._lingering)))

    def _drain(self, conn: Connection, _: object) -> None:
        if conn not in self._lingering:  # as above
            return
        try:
            found = conn.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            found = b""
        conn.drained += len(found)
        if not found or conn.drained > LINGER_BYTES:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        del self._lingering[conn]
        self.poller.unregister(conn.sock)
        conn.close()

    def murder_pending(self) -> None:
        """Close what has waited or lingered for too long."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, until in self._waiting.items() if until < now or not self.alive]:
            self._close(conn)
        for conn in [conn for conn, until in self._lingering.items() if until < now]:
            self._end(conn)
