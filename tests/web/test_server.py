"""Connections on which nothing comes, or little, keep nobody out."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from shared.settings import REPOSITORY
from tests.conftest import wait_for
from tests.flow.conftest import free_port

pytestmark = pytest.mark.alone

THREADS, CONNECTIONS = 2, 16
ASK = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\n"


def answers(port: int) -> bool:
    """Not by httpx, which takes a while to begin."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        asked.request("GET", "/")
        return asked.getresponse().status == 200
    except OSError:
        return False
    finally:
        asked.close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    found = free_port()
    command = [
        *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{found}", "--worker-class", "web.http.server.Server"),
        *("--threads", str(THREADS), "--worker-connections", str(CONNECTIONS), "--no-control-socket"),
        *("--log-level", "warning", "tests.web.served:application"),
    ]
    server = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        wait_for(partial(answers, found), seconds=30)
        yield found
    finally:
        server.terminate()
        server.wait(30)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read_until(one: socket.socket, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += one.recv(1 << 16)
    return found


def read_to_the_end(one: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):  # what it had sent was not read
        while more := one.recv(1 << 16):
            found += more
    return found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", ASK[:-2]], ids=["nothing", "half a line", "all but the end"])
@pytest.mark.parametrize("count", [CONNECTIONS - 4, 4 * CONNECTIONS], ids=["few", "more than there may be"])
def test_connections_without_a_whole_head_keep_nobody_out(port: int, sent: bytes, count: int) -> None:
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(connected(port)).sendall(sent)
        began = time.monotonic()
        assert all(answers(port) for _ in range(5))
        assert time.monotonic() - began < 0.9  # before the first of them is closed


def test_clients_that_do_not_close_after_their_answer_keep_nobody_out(port: int) -> None:
    with ExitStack() as held:
        for _ in range(4 * CONNECTIONS):
            one = held.enter_context(connected(port))
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert one.recv(1 << 16).startswith(b"HTTP/1.0 200 ")
        began = time.monotonic()
        assert answers(port)
        assert time.monotonic() - began < 0.9


def test_an_answer_to_what_is_not_read_arrives_whole(port: int) -> None:
    with connected(port) as one:
        one.sendall(b"GET / HTTP/1.0\r\nContent-Length: 60000\r\n\r\n" + b"x" * 70_000)
        found = read_to_the_end(one)
    assert found.startswith(b"HTTP/1.0 200 ") and found.endswith(b"x" * 60_000)


def test_a_head_that_arrives_in_pieces_is_answered(port: int) -> None:
    with connected(port) as one:
        for start in range(0, len(ASK), 20):
            one.sendall(ASK[start : start + 20])
            time.sleep(0.02)
        one.sendall(b"abc")
        assert read_until(one, b"abc").startswith(b"HTTP/1.1 200 ")


def test_a_connection_whose_head_does_not_come_is_closed(port: int) -> None:
    with connected(port) as one:
        one.sendall(ASK[:10])
        began = time.monotonic()
        assert read_to_the_end(one) == b""
    assert 0.9 < time.monotonic() - began < 4


def test_a_body_that_does_not_come_is_given_up(port: int) -> None:
    with connected(port) as one:
        one.sendall(ASK)
        began = time.monotonic()
        read_to_the_end(one)
    assert 0.9 < time.monotonic() - began < 4


def test_a_connection_is_kept_for_the_next_request(port: int) -> None:
    with connected(port) as one:
        for body in (b"abc", b"def"):
            one.sendall(ASK)
            time.sleep(0.1)
            one.sendall(body)
            assert read_until(one, body).startswith(b"HTTP/1.1 200 ")


def test_of_requests_sent_together_the_first_is_answered_and_the_connection_closed(port: int) -> None:
    with connected(port) as one:
        one.sendall(ASK + b"abc" + ASK + b"def")
        assert read_to_the_end(one).endswith(b"\r\n\r\nabc")


UNREAD = b"GET /?10000 HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def test_an_answer_says_that_the_connection_is_closed_where_its_request_is_not_read(port: int) -> None:
    with connected(port) as one:
        one.sendall(UNREAD + b"Content-Length: 9\r\n\r\n")
        head, _, body = read_to_the_end(one).partition(b"\r\n\r\n")
    assert b"Connection: close" in head and len(body) == 10_000


def test_a_connection_is_kept_where_what_nobody_asked_for_is_there(port: int) -> None:
    with connected(port) as one:
        for _ in range(3):
            one.sendall(UNREAD + b"Content-Length: 9\r\n\r\n123456789")
            found = read_until(one, b"x" * 10_000)
            assert b"Connection: keep-alive" in found


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(ASK + b"abc" + ASK[:-2], id="a part of the next head"),
        pytest.param(UNREAD + b"Content-Length: 9\r\n\r\n", id="a body that does not come and is not read"),
        pytest.param((UNREAD + b"\r\n") * 600, id="requests whose answers are not read"),
    ],
)
def test_what_comes_with_a_request_holds_no_thread(port: int, sent: bytes) -> None:
    with ExitStack() as held:
        for _ in range(2 * THREADS):
            one = held.enter_context(connected(port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(sent)
        time.sleep(0.2)
        began = time.monotonic()
        assert answers(port)
        assert time.monotonic() - began < 0.9


def test_the_next_request_on_a_connection_whose_answers_are_not_read_is_not_answered(port: int) -> None:
    with ExitStack() as held:
        stuck = []
        for _ in range(2 * THREADS):
            one = socket.socket()
            held.enter_context(one).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            stuck.append(one)
        for _ in range(40):
            for one in stuck:
                with suppress(OSError):  # the server has closed it
                    one.sendall(UNREAD + b"\r\n")
            time.sleep(0.02)
        assert answers(port)


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.0\n\n", b"\x16\x03\x01\x02\x00\x01"], ids=["bare ends of lines", "TLS"]
)
def test_what_is_no_head_is_refused_at_once(port: int, sent: bytes) -> None:
    with connected(port) as one:
        one.sendall(sent)
        began = time.monotonic()
        assert read_to_the_end(one).startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - began < 0.9


def test_a_head_that_ends_too_early_is_refused_at_once(port: int) -> None:
    with connected(port) as one:
        one.sendall(b"\x16\x03\x01\x02\x00\x01")  # as TLS begins
        one.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        read_to_the_end(one)
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("size", [1 << 16, 1 << 19])
def test_a_head_without_end_is_refused(port: int, size: int) -> None:
    with connected(port) as one:
        one.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * size)
        assert read_to_the_end(one).startswith(b"HTTP/1.1 431 ")
