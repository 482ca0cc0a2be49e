"""What a refused upload costs others: no file stays, no place is held while it is sent, no room beyond the reserve."""

from __future__ import annotations

import io
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.errors import QueueFull
from shared.images.sandbox.decoders import CheckedEntry
from shared.settings import Settings
from shared.store.connection import connect
from shared.store.job_store import JobStore
from tests.conftest import encoded, wait_for
from tests.shared.test_archives import tarred
from tests.web.test_access import make_app
from tests.web.test_api import JOBS, TREE_MODEL, refused
from web.api import batch_upload
from web.api.batch_upload import UNPACKED_AT_ONCE, UNPACKED_FOR_ONE
from web.http.room import HELD, Room

BATCHES = "/api/v1/batches"
OTHER = {"REMOTE_ADDR": "127.0.0.2"}
THIRD = {"REMOTE_ADDR": "127.0.0.3"}

Make = Callable[..., FlaskClient]


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return replace(settings, **getattr(request, "param", {}))


@pytest.fixture
def make(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> Make:
    """The application with other settings, of the store too, which soon gives up waiting for Redis."""

    def made(**changes: Any) -> FlaskClient:
        changed = replace(settings, **changes)
        return make_app(changed, JobStore(connect(changed, seconds=0.5), changed), blobs, registry).test_client()

    return made


def picture(number: int, side: int = 8) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)))


def form(*files: bytes, **fields: Any) -> dict[str, Any]:
    parts = [(io.BytesIO(data), "a.png") for data in files]
    return {"data": {"image": parts, "models": TREE_MODEL, **fields}, "content_type": "multipart/form-data"}


def stored(blobs: BlobStore) -> list[str]:
    return [path.name for path in blobs.folder.glob("??/*")]


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_job_that_is_refused_leaves_no_file(make: Make, blobs: BlobStore) -> None:
    client = make(queue_limit=1)
    first = client.post(JOBS, **form(picture(0)), headers={"Idempotency-Key": "a"})
    assert first.status_code == 202 and len(stored(blobs)) == 1
    refused(client.post(JOBS, **form(picture(1))), 503, "queue_full")
    refused(client.post(JOBS, **form(picture(2)), headers={"Idempotency-Key": "a"}), 409, "conflict")
    assert client.post(JOBS, **form(picture(0)), headers={"Idempotency-Key": "a"}).status_code == 202
    assert len(stored(blobs)) == 1


@pytest.mark.parametrize("settings", [{"redis_memory_bytes": 1_500_000}], indirect=True)
def test_what_is_refused_for_want_of_redis_memory_leaves_no_file(
    make: Make, blobs: BlobStore, settings: Settings
) -> None:
    client = make()
    connect(settings).eval("redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], string.rep('x', 900000))", 1, "x")
    refused(client.post(JOBS, **form(picture(1))), 503, "store_unavailable")
    assert client.post(BATCHES, **form(picture(2), picture(3))).status_code == 503
    assert stored(blobs) == []


def test_without_redis_files_wait_until_it_is_back(
    make: Make, blobs: BlobStore, redis_server: subprocess.Popen[bytes]
) -> None:
    client = make()
    redis_server.send_signal(19)  # SIGSTOP: it is there and does not answer
    try:
        refused(client.post(JOBS, **form(picture(1))), 503, "store_unavailable")
        assert len(stored(blobs)) == 1, "whether a job names it is not known"
    finally:
        redis_server.send_signal(18)  # SIGCONT
    job = client.post(JOBS, **form(picture(2))).get_json()
    # The call that was given up may have been run late: then a job names its picture.
    jobs = client.get(JOBS).get_json()["jobs"]
    assert sorted(stored(blobs)) == sorted(one["image"]["sha256"] for one in jobs)
    assert job["id"] in [one["id"] for one in jobs]


@pytest.mark.parametrize(
    ("files", "fields", "status"),
    [
        ([picture(1), picture(2)], {"models": "no-such-model"}, 422),
        ([picture(1), picture(2)], {"methods": "no-such-method"}, 422),
        ([picture(1), picture(2), picture(3)], {}, 413),
        ([picture(1), tarred({"a.png": picture(2)})], {}, 400),
        ([tarred({"a.png": picture(1), "b.png": picture(2), "c.png": picture(3)})], {}, 413),
        ([tarred({"a.png": picture(1)}), picture(2)], {}, 400),
    ],
    ids=["model", "option", "too many", "both", "too many in an archive", "both, archive first"],
)
def test_a_batch_that_is_refused_leaves_no_file(
    make: Make, blobs: BlobStore, files: list[bytes], fields: dict[str, str], status: int
) -> None:
    assert make(batch_members=2).post(BATCHES, **form(*files, **fields)).status_code == status
    assert stored(blobs) == []


class Dripping:
    """A body that comes in small pieces; `pause` is called after each."""

    def __init__(self, data: bytes, pause: Callable[[], object], *, piece: int) -> None:
        self._data = io.BytesIO(data)
        self._pause = pause
        self._piece = piece

    def read(self, size: int) -> bytes:
        data = self._data.read(min(self._piece, size))
        self._pause()
        return data


def body_of(*files: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    parts = [head % (b"image", b'; filename="a"', data) for data in files]
    return b"".join([head % (b"models", b"", TREE_MODEL.encode()), *parts])


def send(client: FlaskClient, stream: Any, *, route: str = BATCHES, size: int = 1_000_000) -> TestResponse:
    kind = "multipart/form-data; boundary=x"
    raw = {"wsgi.input": stream, "CONTENT_LENGTH": str(size), "CONTENT_TYPE": kind}
    return client.post(route, environ_overrides=raw)


def test_a_batch_whose_sender_has_gone_leaves_no_file(make: Make, blobs: BlobStore) -> None:
    client = make()
    seen: list[int] = []
    cut = Dripping(body_of(picture(1), picture(2)), lambda: seen.append(len(stored(blobs))), piece=64)
    assert send(client, cut).status_code == 400
    assert max(seen) == 1, "the first was there"
    assert stored(blobs) == []


def cancelled(client: FlaskClient, address: str, *files: bytes) -> str:
    """The address of a job, or of a batch, that has ended."""
    sent = client.post(address, **form(*files)).get_json()
    client.post(sent["links"]["cancel"])
    return str(sent["links"]["self"])


def test_what_is_deleted_makes_room_on_the_disk_at_once(
    make: Make, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(disk_reserve_bytes=1000)
    one, two = cancelled(client, JOBS, picture(1)), cancelled(client, BATCHES, picture(2), picture(3))
    monkeypatch.setattr(BlobStore, "free_bytes", lambda self: 3000 if len(stored(blobs)) < 2 else 999)
    refused(client.post(JOBS, **form(picture(4))), 503, "queue_full")
    for address in (one, two):
        assert client.delete(address).status_code == 204
    assert stored(blobs) == []
    assert client.post(JOBS, **form(picture(4))).status_code == 202


def test_of_what_is_deleted_the_pictures_that_another_job_names_stay(make: Make, blobs: BlobStore) -> None:
    client = make()
    one = cancelled(client, JOBS, picture(1))
    two = cancelled(client, BATCHES, picture(1), picture(2))
    assert client.delete(two).status_code == 204
    assert len(stored(blobs)) == 1
    assert client.delete(one).status_code == 204
    assert stored(blobs) == []


# -- places ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def unpacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.Event]]:
    """Archives take until they are told to end; one event for each that is being unpacked."""
    under_way: list[threading.Event] = []

    def read_archive(*_: object) -> Iterator[CheckedEntry]:
        under_way.append(end := threading.Event())
        assert end.wait(30)
        yield CheckedEntry("a.png", "0" * 64, None, b"", "no picture")

    monkeypatch.setattr(batch_upload, "read_archive", read_archive)
    monkeypatch.setattr(batch_upload, "PATIENCE_SECONDS", 0.2)
    yield under_way
    for one in under_way:
        one.set()


def test_archives_are_unpacked_a_few_at_a_time_and_one_caller_leaves_a_place_to_others(
    make: Make, unpacking: list[threading.Event]
) -> None:
    client = make()
    archive = tarred({"a.png": picture(0)})

    def post(**more: Any) -> TestResponse:
        return client.application.test_client().post(BATCHES, **form(archive), **more)

    with ThreadPoolExecutor(UNPACKED_AT_ONCE) as threads:
        own = [threads.submit(post) for _ in range(UNPACKED_FOR_ONE)]
        wait_for(lambda: len(unpacking) == UNPACKED_FOR_ONE, seconds=10)
        more = post()
        assert "archives that are being unpacked are yours already" in refused(more, 429, "too_many_requests")
        assert more.headers["Retry-After"]
        others = threads.submit(post, environ_overrides=OTHER)
        wait_for(lambda: len(unpacking) == UNPACKED_AT_ONCE, seconds=10)
        beyond = post(environ_overrides=THIRD)
        assert "too many archives are being unpacked" in refused(beyond, 503, "busy")
        assert beyond.headers["Retry-After"]
        for one in list(unpacking):
            one.set()
        assert [one.result().status_code for one in (*own, others)] == [202] * UNPACKED_AT_ONCE
    assert client.post(BATCHES, **form(picture(1))).status_code == 202, "pictures need no such place"


def test_who_sends_slowly_holds_no_place_meanwhile(make: Make) -> None:
    client = make()
    archive = tarred({"a.png": picture(0)})
    begun, go_on = threading.Semaphore(0), threading.Event()

    def pause() -> None:
        begun.release()
        assert go_on.wait(30)

    def send_slowly(_: int) -> TestResponse:
        body = body_of(archive) + b"--x--"
        return send(client.application.test_client(), Dripping(body, pause, piece=1024), size=len(body))

    with ThreadPoolExecutor(UNPACKED_AT_ONCE) as threads:
        slow = [threads.submit(send_slowly, number) for number in range(UNPACKED_AT_ONCE)]
        for _ in slow:
            assert begun.acquire(timeout=10)
        assert client.post(BATCHES, **form(archive)).status_code == 202
        go_on.set()
        assert {one.result().status_code for one in slow} <= {202, 429}, "their share is one caller's"


# -- room --------------------------------------------------------------------------------------------------------------


def test_uploads_wait_where_room_is_looked_after_and_not_in_the_systems_folder(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    large = picture(0, side=600)
    assert len(large) > 2 * HELD
    for route, file in ((JOBS, large), (BATCHES, tarred({"a.png": large}))):
        body = body_of(file) + b"--x--"
        assert send(make(), io.BytesIO(body), route=route, size=len(body)).status_code == 202


@pytest.mark.parametrize("route", [JOBS, BATCHES])
def test_room_is_asked_for_before_each_piece_is_written(
    make: Make, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    large = picture(0, side=600)
    room = len(large) // 2  # beyond the reserve, which is 0
    body = body_of(tarred({"a.png": large})) + b"--x--"
    real = tempfile.TemporaryFile
    spools: list[Any] = []

    def spool(*given: Any, **named: Any) -> Any:
        spools.append(file := real(*given, **named))
        return file

    def free(self: BlobStore) -> int:
        return room - sum(int(file.tell()) for file in spools if not file.closed)

    monkeypatch.setattr(BlobStore, "free_bytes", free)
    monkeypatch.setattr(tempfile, "TemporaryFile", spool)
    written: list[int] = []
    real_taken = Room.taken

    def taken(self: Room, size: int) -> Any:
        written.append(free(blobs))
        return real_taken(self, size)

    monkeypatch.setattr(Room, "taken", taken)
    client = make(disk_reserve_bytes=0)
    refused(send(client, io.BytesIO(body), route=route, size=len(body)), 503, "queue_full")
    assert min(written) >= 0 and written[0] > len(large) // 3
    assert stored(blobs) == []


def test_many_who_write_at_once_do_not_pass_the_reserve_together(
    settings: Settings, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlobStore, "free_bytes", lambda self: 1000)
    room = Room(blobs, replace(settings, disk_reserve_bytes=100))
    with room.taken(400), room.taken(400):
        with pytest.raises(QueueFull, match="no room"), room.taken(101):
            pass
        with room.taken(100):
            pass
    with room.taken(900):
        pass
    with pytest.raises(QueueFull), room.taken(901):
        pass
