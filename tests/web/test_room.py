"""A disk with too little room: nothing new is taken, by whatever way it comes, and what was accepted goes on."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.shared.servers import answer, serving
from tests.web.test_api import JOBS, TREE_MODEL, refused, run_one
from web.app import create_app


@pytest.fixture
def crowded(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> Callable[..., FlaskClient]:
    """The application, wishing for more room than any disk has."""

    def make(**changes: object) -> FlaskClient:
        changed = replace(settings, disk_reserve_bytes=1 << 60, **changes)  # type: ignore[arg-type]
        bell = Bell(make_celery(changed))
        return create_app(changed, store=store, blobs=blobs, bell=bell, registry=registry).test_client()

    return make


def token_of(client: FlaskClient) -> str:
    token = re.search(r'name="token" value="([^"]+)"', client.get("/").text)
    assert token is not None
    return token[1]


def test_nothing_is_taken_by_form_json_address_page_or_batch(
    crowded: Callable[..., FlaskClient], store: JobStore, blobs: BlobStore, photos: dict[str, Image.Image]
) -> None:
    data = encoded(photos["chelsea"])

    def parts(**fields: object) -> dict[str, object]:
        return {"image": (io.BytesIO(data), "a.png"), "models": TREE_MODEL, **fields}

    with serving(answer(200, data)) as server:
        client = crowded(image_url=True, outbound_loopback=True, outbound_ports=str(server.port))
        address = f"http://127.0.0.1:{server.port}/a.png"
        answers: list[TestResponse] = [
            client.post(JOBS, data=parts()),
            client.post(JOBS, json={"image_base64": base64.b64encode(data).decode(), "models": [TREE_MODEL]}),
            client.post(JOBS, json={"image_url": address, "models": [TREE_MODEL]}),
            client.post("/api/v1/batches", data=parts()),
        ]
    for response in answers:
        assert "the disk has no room for more pictures" in refused(response, 503, "queue_full")
        assert response.headers["Retry-After"]
    page = client.post("/", data=parts(token=token_of(client)))
    assert page.status_code == 503 and "no room" in page.text
    store.heartbeat("worker")
    assert "too little room" in refused(client.get("/readyz"), 503, "not_ready")
    assert store.counts() == {} and list(blobs.folder.glob("??/*")) == []


def test_what_was_accepted_before_is_still_answered(
    client: FlaskClient, crowded: Callable[..., FlaskClient], store: JobStore, blobs: BlobStore
) -> None:
    form = {"image": (io.BytesIO(encoded(Image.new("RGB", (400, 300)))), "a.png"), "models": TREE_MODEL}
    job = client.post(JOBS, data=form).get_json()
    run_one(store, blobs)
    assert crowded().get(job["links"]["self"]).get_json()["status"] == "succeeded"
    assert crowded().get(job["links"]["bundle"]).status_code == 200
    browser = crowded()
    again = browser.post(f"/jobs/{job['id']}/again", data={"token": token_of(browser)})
    assert again.status_code == 503 and "no room" in again.text
