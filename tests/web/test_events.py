"""Event streams over a real store: what they say, when they end, and how many there may be."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.errors import InvalidSetting
from shared.jobs import JobError
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from web.api import events
from web.app import create_app
from web.http.turns import share_of

JOBS = "/api/v1/jobs"
FAILED = JobError("internal", "It broke.")


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    """A server with a single stream."""
    bell = Bell(make_celery(settings))
    small = replace(settings, event_streams=1)
    return create_app(small, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


@pytest.fixture
def submit(client: FlaskClient) -> Callable[[], dict[str, Any]]:
    def send() -> dict[str, Any]:
        form = {"image": (io.BytesIO(encoded(Image.new("RGB", (8, 8)))), "a.png"), "models": "nbdt-cifar10"}
        job: dict[str, Any] = client.post(JOBS, data=form).get_json()
        return job

    return send


def jobs_in(stream: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The jobs of a stream's events, comments left out."""
    for chunk in stream:
        if chunk.startswith(b":"):
            continue
        kind, data, *end = chunk.decode().split("\n")
        assert kind == "event: job" and end == ["", ""]
        yield json.loads(data.removeprefix("data: "))


def test_a_stream_tells_place_stage_progress_and_state_and_closes_behind_the_end(
    client: FlaskClient, submit: Callable[[], dict[str, Any]], store: JobStore
) -> None:
    submit()
    job = submit()
    response = client.get(job["links"]["events"])
    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    stream = jobs_in(response.iter_encoded())
    assert next(stream)["queue"]["position"] == 2
    store.claim(1, claim_id="first")
    assert next(stream)["queue"]["position"] == 1
    claim = store.claim(1, claim_id="second")[0]
    assert next(stream)["status"] == "running"
    store.report([claim], done=1, total=4, stage="rise")
    assert next(stream)["progress"] == {"done": 1, "total": 4, "stage": "rise"}
    store.fail(claim, FAILED)
    last = next(stream)
    assert last["status"] == "failed"
    assert last == client.get(job["links"]["self"]).get_json()
    assert list(stream) == []


def test_changes_that_do_not_show_are_no_events(
    client: FlaskClient, submit: Callable[[], dict[str, Any]], store: JobStore
) -> None:
    job = submit()
    stream = jobs_in(client.get(job["links"]["events"]).iter_encoded())
    first = next(stream)
    submit()  # behind it
    store.cancel(job["id"])
    assert (first["status"], next(stream)["status"]) == ("queued", "cancelled")


@pytest.mark.parametrize("headers", [{}, {"Last-Event-ID": "7"}, {"Last-Event-ID": "\u00fc"}])
def test_the_stream_of_an_ended_job_is_one_event_and_takes_no_place(
    headers: dict[str, str], client: FlaskClient, submit: Callable[[], dict[str, Any]], store: JobStore
) -> None:
    ended, waiting = submit(), submit()
    store.cancel(ended["id"])
    with client.get(waiting["links"]["events"]):  # holds the only place
        response = client.get(ended["links"]["events"], headers=headers)
        assert [job["status"] for job in jobs_in(response.iter_encoded())] == ["cancelled"]


def test_past_their_number_the_answer_is_503_or_429_and_a_closed_stream_makes_room(
    client: FlaskClient, submit: Callable[[], dict[str, Any]]
) -> None:
    address = submit()["links"]["events"]
    for _ in range(3):
        client.head(address)  # needs no place
        with client.get(address) as held:
            assert held.status_code == 200
            mine, anothers = client.get(address), client.get(address, environ_overrides={"REMOTE_ADDR": "127.0.0.2"})
            assert (mine.status_code, mine.get_json()["code"]) == (429, "too_many_requests")
            assert (anothers.status_code, anothers.get_json()["code"]) == (503, "too_many_streams")
            assert mine.headers["Retry-After"] and anothers.headers["Retry-After"]
    response = client.get(address)
    next(jobs_in(response.iter_encoded()))
    response.close()
    assert client.get(address).status_code == 200


def test_a_quiet_stream_is_kept_alive_by_comments(
    client: FlaskClient, submit: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_SECONDS", 0.02)
    stream = client.get(submit()["links"]["events"]).iter_encoded()
    assert next(stream).startswith(b"event: job\n")
    assert [next(stream), next(stream)] == [events.KEEP_ALIVE.encode()] * 2


def test_an_unknown_job_has_no_stream(client: FlaskClient) -> None:
    assert client.get(f"{JOBS}/unknown/events").status_code == 404


def test_a_stream_ends_when_redis_goes_away_and_its_place_is_free_again(
    client: FlaskClient, submit: Callable[[], dict[str, Any]], redis_server: subprocess.Popen[bytes]
) -> None:
    job = submit()
    response = client.get(job["links"]["events"])
    stream = jobs_in(response.iter_encoded())
    next(stream)
    redis_server.kill()
    redis_server.wait()
    assert list(stream) == []
    response.close()
    again = client.get(job["links"]["events"])
    assert (again.status_code, again.get_json()["code"]) == (503, "store_unavailable")


def test_many_readers_of_one_job_all_see_its_end(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry, submit: Callable[[], dict[str, Any]]
) -> None:
    app = create_app(settings, store=store, blobs=blobs, bell=Bell(make_celery(settings)), registry=registry)
    job = submit()
    count = share_of(settings.event_streams)
    ready = threading.Barrier(count + 1)
    ends: list[str] = []

    def read() -> None:
        stream = jobs_in(app.test_client().get(job["links"]["events"]).iter_encoded())
        next(stream)
        ready.wait(10)
        ends.append(list(stream)[-1]["status"])

    readers = [threading.Thread(target=read) for _ in range(count)]
    for reader in readers:
        reader.start()
    ready.wait(10)
    store.cancel(job["id"])
    for reader in readers:
        reader.join(10)
    assert ends == ["cancelled"] * count


def test_streams_leave_half_of_the_threads_to_other_requests() -> None:
    with pytest.raises(InvalidSetting, match="PATHLIGHT_EVENT_STREAMS=9 must leave half of PATHLIGHT_WEB_THREADS=16"):
        Settings(event_streams=9, web_threads=16)
