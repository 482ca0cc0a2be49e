"""Pictures by address: off unless the operator wants them, and then checked as uploads are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.shared.servers import answer, serving
from tests.web.test_api import JOBS, TREE_MODEL, refused
from web.app import create_app

Client = Callable[..., FlaskClient]
SUBMISSION = {"models": [TREE_MODEL]}


@pytest.fixture
def make_client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> Client:
    """The application with fetching switched on, from a port of this machine."""

    def make(port: int, **changes: object) -> FlaskClient:
        allowed = {"image_url": True, "outbound_loopback": True, "outbound_ports": str(port), **changes}
        changed = replace(settings, **allowed)  # type: ignore[arg-type]
        bell = Bell(make_celery(settings))
        return create_app(changed, store=store, blobs=blobs, bell=bell, registry=registry).test_client()

    return make


def test_a_picture_at_an_address_becomes_a_job_like_an_upload(
    make_client: Client, photos: dict[str, Image.Image]
) -> None:
    with serving(answer(200, encoded(photos["chelsea"]))) as server:
        address = f"http://127.0.0.1:{server.port}/cats/chelsea.png?size=big"
        response = make_client(server.port).post(JOBS, json={**SUBMISSION, "image_url": address})
    assert response.status_code == 202, response.text
    image = response.get_json()["image"]
    assert (image["filename"], image["width"], image["height"]) == ("chelsea.png", 451, 300)


def test_fetching_is_off_by_default_and_the_remedy_is_named(client: FlaskClient) -> None:
    body = {**SUBMISSION, "image_url": "https://example.com/cat.png"}
    assert "PATHLIGHT_IMAGE_URL=1" in refused(client.post(JOBS, json=body), 422, "invalid_option")


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:6379/", "http://127.1/", "file:///etc/passwd"],
)
def test_a_forbidden_address_is_refused_without_a_connection(address: str, make_client: Client) -> None:
    client = make_client(80, outbound_loopback=False)
    assert "image_url: " in refused(client.post(JOBS, json={**SUBMISSION, "image_url": address}), 422, "invalid_option")


@pytest.mark.parametrize(
    ("status", "body", "expected", "code", "words"),
    [
        (404, b"", 422, "invalid_option", "status 404"),
        (302, b"", 422, "invalid_option", "redirects are not followed"),
        (200, b"hello, I am a text", 415, "unsupported_image", ""),
        (200, b"", 400, "invalid_image", ""),
        (200, bytes(2000), 413, "image_too_large", "more than 1000 bytes"),
    ],
)
def test_what_is_not_a_picture_is_refused_as_an_upload_would_be(
    status: int, body: bytes, expected: int, code: str, words: str, make_client: Client
) -> None:
    with serving(answer(status, body, Location="http://127.0.0.1/")) as server:
        request = {**SUBMISSION, "image_url": f"http://127.0.0.1:{server.port}/"}
        response = make_client(server.port, image_bytes=1000).post(JOBS, json=request)
    assert words in refused(response, expected, code)


def test_a_picture_and_an_address_together_are_refused(client: FlaskClient) -> None:
    body = {**SUBMISSION, "image_url": "https://example.com/", "image_base64": "aGVsbG8="}
    assert "not both" in refused(client.post(JOBS, json=body), 400, "malformed")


def test_slow_addresses_take_a_bounded_number_of_threads(make_client: Client, photos: dict[str, Image.Image]) -> None:
    arrived, go_on = threading.Semaphore(0), threading.Event()
    picture = answer(200, encoded(photos["chelsea"]))

    def slow(handler: object, heard: object) -> None:
        arrived.release()
        go_on.wait(20)
        picture(handler, heard)  # type: ignore[arg-type]

    with serving(slow) as server, ThreadPoolExecutor(1) as other:
        client = make_client(server.port, outbound_at_once=1)
        body = {**SUBMISSION, "image_url": f"http://127.0.0.1:{server.port}/"}
        first = other.submit(lambda: client.application.test_client().post(JOBS, json=body))
        assert arrived.acquire(timeout=10)
        mine = client.post(JOBS, json=body)
        anothers = client.post(JOBS, json=body, environ_overrides={"REMOTE_ADDR": "127.0.0.2"})
        go_on.set()
        assert "1 addresses of submissions are yours already" in refused(mine, 429, "too_many_requests")
        assert "being contacted already" in refused(anothers, 503, "queue_full")
        assert mine.headers["Retry-After"] and anothers.headers["Retry-After"]
        assert first.result(20).status_code == 202
