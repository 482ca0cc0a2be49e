"""What the client does where a service is busy, slow or broken, over servers that are; sync and async alike."""

from __future__ import annotations

import asyncio
import base64
import http.server
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pathlight_client import AsyncPathlight, Pathlight, Refused
from tests.shared.servers import Heard, Reply, answer, serving

Ask = Callable[..., Any]
JOB = {"id": "x", "status": "running", "links": {}}
ENDED = {**JOB, "status": "succeeded"}
PROBLEM = {"code": "busy", "detail": "come again"}


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """One client, asked one thing: `ask(address, "wait", "x", seconds=1)`."""

    def sync(address: str, method: str, *words: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
        with Pathlight(address, **client or {}) as pathlight:
            found = getattr(pathlight, method)(*words, **options)
            return list(found) if method == "jobs" else found

    async def work(address: str, method: str, *words: Any, client: dict[str, Any] | None = None, **options: Any) -> Any:
        async with AsyncPathlight(address, **client or {}) as pathlight:
            found = getattr(pathlight, method)(*words, **options)
            return [one async for one in found] if method == "jobs" else await found

    return sync if request.param == "sync" else lambda *words, **options: asyncio.run(work(*words, **options))


def said(body: object, status: int = 200, **headers: str) -> Reply:
    return answer(status, json.dumps(body).encode(), **headers)


def busy(status: int = 503, after: str = "0") -> Reply:
    return said(PROBLEM, status, **{"Retry-After": after})


def hang_up(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
    """The request arrives, its answer does not."""
    handler.close_connection = True


def in_turn(*replies: Reply) -> Reply:
    """One reply after the other; the last goes on."""
    left = list(replies)

    def reply(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler, heard)

    return reply


def streaming(stream: Reply, job: Reply) -> Reply:
    """A job with an event stream."""
    return lambda handler, heard: (stream if heard.path.endswith("/events") else job)(handler, heard)


def at(port: int, prefix: str = "") -> str:
    return f"http://127.0.0.1:{port}{prefix}"


def test_what_the_service_cannot_take_just_then_is_sent_again_unchanged(ask: Ask) -> None:
    with serving(in_turn(busy(429), busy(503), hang_up, said(JOB, 202))) as server:
        assert ask(at(server.port), "submit", b"picture", models=["m"])["id"] == "x"
    assert len(server.heard) == 4
    (key,) = {heard.headers["idempotency-key"] for heard in server.heard}
    assert len(key) > 20
    assert all(b"picture" in heard.body and b'name="models"\r\n\r\nm\r\n' in heard.body for heard in server.heard)


def test_after_so_many_attempts_the_service_has_refused(ask: Ask) -> None:
    with serving(busy()) as server, pytest.raises(Refused, match="busy: come again") as refused:
        ask(at(server.port), "get", "x", client={"attempts": 3})
    assert (len(server.heard), refused.value.status) == (3, 503)


def test_a_plain_no_is_not_asked_again(ask: Ask) -> None:
    with serving(said(PROBLEM, 422)) as server, pytest.raises(Refused):
        ask(at(server.port), "submit", b"picture")
    assert len(server.heard) == 1


def test_the_key_is_sent_with_every_request(ask: Ask) -> None:
    key = {"api_key": "pl_secret"}
    with serving(streaming(hang_up, said(ENDED))) as server:
        for method, words in (("submit", (b"p",)), ("get", ("x",)), ("wait", ("x",)), ("cancel", ("x",))):
            ask(at(server.port), method, *words, client=key)
        ask(at(server.port), "artifact", "x", "bundle.zip", client=key)
    assert len(server.heard) == 6 and {heard.headers.get("x-api-key") for heard in server.heard} == {"pl_secret"}


def test_a_cancel_whose_answer_was_lost_is_the_same_cancel_when_it_is_sent_again(ask: Ask) -> None:
    with serving(in_turn(hang_up, said({**JOB, "status": "cancelled"}))) as server:
        assert ask(at(server.port), "cancel", "x")["status"] == "cancelled"
        ask(at(server.port), "cancel", "x")
    first, again, other = (heard.headers["idempotency-key"] for heard in server.heard)
    assert first == again != other


@pytest.mark.parametrize(
    "stream",
    [busy(after="30"), answer(200, b"data: {nonsense\n\n"), answer(200, b"data: [1]\n\n"), answer(200, b"\xff\n\n")],
    ids=["refused", "no JSON", "no job", "no text"],
)
def test_where_the_event_stream_is_of_no_use_the_job_is_polled(stream: Reply, ask: Ask) -> None:
    with serving(streaming(stream, in_turn(said(JOB), said(ENDED)))) as server:
        assert ask(at(server.port), "wait", "x", seconds=20)["status"] == "succeeded"
    assert [heard.path.endswith("/events") for heard in server.heard] == [True, False, False]


def test_the_stream_alone_is_enough(ask: Ask) -> None:
    events = "".join(f"event: job\ndata: {json.dumps(job)}\n\n" for job in (JOB, ENDED)).encode()
    with serving(streaming(answer(200, events), busy())) as server:
        assert ask(at(server.port), "wait", "x") == ENDED
    assert len(server.heard) == 1


def test_waiting_ends_in_time_though_the_stream_goes_on(ask: Ask) -> None:
    over = threading.Event()

    def endless(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(f"data: {json.dumps(JOB)}\n\n".encode())
        until = time.monotonic() + 8
        while time.monotonic() < until and not over.wait(0.2):
            handler.wfile.write(b": the job goes on\n\n")

    with serving(streaming(endless, said(JOB))) as server:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="job x has not ended within 0.5 s"):
            ask(at(server.port), "wait", "x", seconds=0.5)
        took = time.monotonic() - began
        over.set()
    assert 0.5 <= took < 5


@pytest.mark.parametrize("reply", [busy(after="30"), hang_up], ids=["busy", "away"])
def test_waiting_ends_in_time_though_the_service_is_away(reply: Reply, ask: Ask) -> None:
    began = time.monotonic()
    with serving(reply) as server, pytest.raises(TimeoutError):
        ask(at(server.port), "wait", "x", seconds=0.5)
    assert time.monotonic() - began < 5


def test_a_job_that_ends_in_the_last_moment_is_still_seen(ask: Ask) -> None:
    began = time.monotonic()

    def job(handler: http.server.BaseHTTPRequestHandler, heard: Heard) -> None:
        said(ENDED if time.monotonic() > began + 1.5 else JOB)(handler, heard)

    with serving(streaming(busy(), job)) as server:
        assert ask(at(server.port), "wait", "x", seconds=1.6)["status"] == "succeeded"


@pytest.mark.parametrize("known", ["", "/api"], ids=["the proxy's alone", "the service's too"])
def test_a_service_may_be_reached_under_a_path(known: str, ask: Ask) -> None:
    page = {"jobs": [JOB], "next": f"{known}/api/v1/jobs?cursor=c"}
    with serving(in_turn(said(page), said({"jobs": [ENDED], "next": None}))) as server:
        assert ask(at(server.port, "/api/"), "jobs", limit=1) == [JOB, ENDED]
    assert [heard.path for heard in server.heard] == ["/api/api/v1/jobs?limit=1", "/api/api/v1/jobs?cursor=c"]
    with serving(streaming(busy(), said(ENDED))) as server:
        ask(at(server.port, "/api"), "wait", "x")
    assert [heard.path for heard in server.heard] == ["/api/api/v1/jobs/x/events", "/api/api/v1/jobs/x"]


def test_the_address_of_a_picture_or_a_parent_stands_for_the_picture(ask: Ask) -> None:
    with serving(said(JOB, 202)) as server:
        ask(at(server.port), "submit", image_url="https://example.org/cat.png", methods=["rise"], webhook="https://h/")
        ask(at(server.port), "submit", parent="p", mask=b"white", fill="grey")
    assert [heard.headers["content-type"] for heard in server.heard] == ["application/json"] * 2
    assert [json.loads(heard.body) for heard in server.heard] == [
        {"image_url": "https://example.org/cat.png", "methods": ["rise"], "webhook": "https://h/"},
        {"parent": "p", "mask_base64": base64.b64encode(b"white").decode(), "fill": "grey"},
    ]


def test_a_webhook_is_named_beside_a_picture_too(ask: Ask) -> None:
    with serving(said(JOB, 202)) as server:
        ask(at(server.port), "submit", b"picture", webhook="https://h/")
        with pytest.raises(ValueError, match="not both"):
            ask(at(server.port), "submit", b"picture", image_url="https://example.org/cat.png")
    (heard,) = server.heard
    assert b'name="webhook"\r\n\r\nhttps://h/\r\n' in heard.body
