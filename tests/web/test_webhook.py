"""The address to be told of a job's end: off unless the operator wants it, vetted, part of the request, never shown."""

from __future__ import annotations

import io
import shlex
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.blobs.blob_store import BlobStore
from shared.broker import DELIVER_QUEUE, Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from tests.conftest import encoded
from tests.documented import commands_of
from tests.shared.submissions import raw_client
from tests.web.test_access import make_app
from tests.web.test_api import JOBS, TREE_MODEL, refused, run_one
from web.app import create_app

ADDRESS = "http://127.0.0.1/hook?token=t0ps3cret"
Send = Callable[..., Any]


@pytest.fixture
def telling(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    """The application with webhooks switched on, to this very machine."""
    changed = replace(settings, webhook_secret="whsec_" + "A" * 32, outbound_loopback=True)
    bell = Bell(make_celery(changed))
    return create_app(changed, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


@pytest.fixture
def send(photos: dict[str, Image.Image]) -> Send:
    chelsea = encoded(photos["chelsea"])

    def submit(client: FlaskClient, webhook: str = ADDRESS, **headers: str) -> Any:
        form = {"image": (io.BytesIO(chelsea), "chelsea.png"), "models": TREE_MODEL, "webhook": webhook}
        return client.post(JOBS, data=form, headers=headers)

    return submit


def rings(settings: Settings) -> int:
    """How often the sender's doorbell has rung."""
    return int(raw_client(settings).llen(f"{PREFIX}{DELIVER_QUEUE}"))


def test_the_end_of_a_job_is_told_to_its_webhook_and_the_address_is_never_shown(
    telling: FlaskClient, send: Send, store: JobStore, blobs: BlobStore
) -> None:
    response = send(telling)
    assert response.status_code == 202, response.text
    run_one(store, blobs)
    (delivery,) = store.webhooks.claim(10, claim_id="c")
    assert (delivery.job_id, delivery.address) == (response.get_json()["id"], ADDRESS)
    job = response.get_json()["links"]["self"]
    page = response.get_json()["links"]["page"]
    for said in (response.text, telling.get(job).text, telling.get(JOBS).text, telling.get(page).text):
        assert "t0ps3cret" not in said


def test_the_pages_commands_switch_webhooks_on_and_name_one(
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    registry: Registry,
    photos: dict[str, Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, public, curl = commands_of("docs/webhooks.md")
    script = f'{secret}; {public}; printf "%s %s" "$PATHLIGHT_WEBHOOK_SECRET" "$PATHLIGHT_PUBLIC_URL"'
    made = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    changed = replace(settings, webhook_secret=made[0], public_url=made[1])
    client = make_app(changed, store, blobs, registry).test_client()
    given = dict(word.split("=", 1) for word in shlex.split(curl) if "=" in word)
    form = {**given, "image": (io.BytesIO(encoded(photos["chelsea"], "JPEG")), given["image"].removeprefix("@"))}
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **kind: found)
    sent = client.post(shlex.split(curl)[-1].partition(":8000")[2], data=form | {"models": TREE_MODEL})
    assert sent.status_code == 202, sent.text
    run_one(store, blobs)
    (delivery,) = store.webhooks.claim(10, claim_id="c")
    assert delivery.address == given["webhook"]


def test_where_the_answer_is_known_already_the_sender_is_called_at_once(
    telling: FlaskClient, send: Send, store: JobStore, blobs: BlobStore, settings: Settings
) -> None:
    send(telling)
    assert rings(settings) == 0, "a job that waits has nothing to tell"
    run_one(store, blobs)
    known = send(telling).get_json()
    assert known["cached"] and rings(settings) == 1
    assert known["id"] in {delivery.job_id for delivery in store.webhooks.claim(10, claim_id="c")}


def test_webhooks_are_off_by_default_and_the_remedy_is_named(client: FlaskClient, send: Send, store: JobStore) -> None:
    assert "PATHLIGHT_WEBHOOK_SECRET" in refused(send(client, "https://example.com/"), 422, "invalid_option")
    assert store.counts() == {}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not on the public internet"),
        ("http://10.0.0.1/", "not on the public internet"),
        ("http://127.0.0.1:6379/", "port 6379 is not allowed"),
        ("http://127.1/", "usual form"),
        ("http://me:pw@127.0.0.1/", "no user name"),
        ("ftp://127.0.0.1/", "http://"),
        ("hook", "http://"),
        ("http://127.0.0.1/" + "a" * 2048, "at most 2048"),
    ],
)
def test_a_forbidden_address_is_refused_and_nothing_is_stored(
    address: str, words: str, telling: FlaskClient, send: Send, store: JobStore
) -> None:
    assert words in refused(send(telling, address), 422, "invalid_option")
    assert store.counts() == {}


def test_this_very_machine_is_forbidden_unless_the_operator_allows_it(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry, send: Send
) -> None:
    changed = replace(settings, webhook_secret="whsec_" + "A" * 32)
    bell = Bell(make_celery(changed))
    client = create_app(changed, store=store, blobs=blobs, bell=bell, registry=registry).test_client()
    assert "not on the public internet" in refused(send(client), 422, "invalid_option")


def test_the_same_key_with_another_webhook_is_a_conflict(telling: FlaskClient, send: Send) -> None:
    first = send(telling, **{"Idempotency-Key": "k"}).get_json()["id"]
    assert send(telling, **{"Idempotency-Key": "k"}).get_json()["id"] == first
    refused(send(telling, "http://127.0.0.1/other", **{"Idempotency-Key": "k"}), 409, "conflict")


def test_the_description_says_what_a_webhook_receives(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    submit = document["paths"][JOBS]["post"]
    told = submit["callbacks"]["ended"]["{$request.body#/webhook}"]["post"]
    reference = told["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]
    for kind in ("multipart/form-data", "application/json"):
        assert "webhook" in submit["requestBody"]["content"][kind]["schema"]["properties"]
