"""The button that fetches a model: for whoever operates the service, with progress, and a sentence where it failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from shared.blobs.blob_store import BlobStore
from shared.broker import FETCH_QUEUE
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.fetches import Fetch, FetchState
from shared.store.job_store import PREFIX, JobStore, Role
from shared.store.keys import Scope
from tests.shared.cards import write_card
from tests.shared.submissions import raw_client
from tests.web.test_access import House, form_token, make_app
from tests.web.test_guide import section

API = "/api/v1/models"
PAGE = {"Accept": "text/html"}


@pytest.fixture
def registry(settings: Settings, tmp_path: Path) -> Registry:
    folder = tmp_path / "cards"
    write_card(folder, name="far", weights={"file": "w.pth", "sha256": "", "url": "https://example.org/w.pth"})
    write_card(folder, name="near")
    (write_card(folder, name="here").parent / "weights.safetensors").write_bytes(b"w")
    return Registry.load(settings, folders=[folder])


@pytest.fixture
def house(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> House:
    store.heartbeat("fetcher@here", role=Role.FETCHER)
    guarded = replace(settings, keys="required")
    return House(make_app(guarded, store, blobs, registry), store, blobs, guarded)


@pytest.fixture
def client(house: House, settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    """A browser on the machine of a service without keys."""
    return make_app(settings, store, blobs, registry).test_client()


def rung(settings: Settings) -> int:
    return int(raw_client(settings).llen(f"{PREFIX}{FETCH_QUEUE}"))


def listed(client: FlaskClient, name: str = "far") -> object:
    return next(one for one in client.get(API).get_json()["models"] if one["name"] == name)["fetch"]


def test_the_button_begins_a_fetch_a_second_click_joins_it_and_the_page_says_how_far_it_is(
    client: FlaskClient, store: JobStore, settings: Settings
) -> None:
    page = client.get("/models")
    assert page.text.count("Fetch the weights now") == 1, "only what has an upstream and is not ready can be fetched"
    for _ in range(2):
        clicked = client.post("/models/far/fetch", data={"token": form_token(page)})
        assert (clicked.status_code, clicked.location) == (303, "/models#far")
    assert rung(settings) == 2, "the first ring may have been lost"
    page = client.get("/models")
    assert "It will be fetched shortly." in section(page.text, "far") and "Fetch the weights now" not in page.text
    assert '<noscript><meta http-equiv="refresh"' in page.text and "/assets/models.js" in page.text
    assert store.fetches.claim(claim_id="a") == "far" and store.fetches.claim(claim_id="b") is None
    store.fetches.report("far", Fetch(FetchState.RUNNING, 5_000_000, 20_000_000), claim_id="a")
    page = client.get("/models")
    assert "Fetched 5.0 of 20.0 MB" in section(page.text, "far")
    assert '<progress value="5000000" max="20000000"' in page.text
    store.fetches.report("far", Fetch(FetchState.RUNNING, 6_000_000), claim_id="a")
    assert "Fetched 6.0 MB" in section(client.get("/models").text, "far")
    store.fetches.report("far", Fetch(FetchState.DONE, 20_000_000, 20_000_000), claim_id="a")
    assert "the model will be ready in a moment" in section(client.get("/models").text, "far")


@pytest.mark.parametrize(("language", "sentence"), [("en", "Example.org cannot be reached."), ("ja", "取得できません")])
def test_a_fetch_that_failed_says_why_in_one_sentence_and_can_be_tried_again(
    client: FlaskClient, store: JobStore, language: str, sentence: str
) -> None:
    store.fetches.begin("far")
    store.fetches.claim(claim_id="a")
    store.fetches.report("far", Fetch(FetchState.FAILED, error="example.org cannot be reached"), claim_id="a")
    page = client.get("/models", headers={"Accept-Language": language})
    assert sentence in section(page.text, "far") and "/models/far/fetch" in page.text
    assert "http-equiv" not in page.text


def test_the_api_begins_a_fetch_and_lists_how_far_it_is(client: FlaskClient, store: JobStore) -> None:
    assert listed(client) is None
    waiting = {"state": "waiting", "done": 0, "total": None, "error": None}
    for _ in range(2):
        answer = client.post(f"{API}/far/fetch")
        assert (answer.status_code, answer.get_json()) == (202, waiting)
    assert listed(client) == waiting and listed(client, "near") is None
    store.fetches.claim(claim_id="a")
    store.fetches.report("far", Fetch(FetchState.FAILED, 3, 9, "the disk is full"), claim_id="a")
    assert listed(client) == {"state": "failed", "done": 3, "total": 9, "error": "the disk is full"}


def test_only_an_admins_key_may_fetch_where_keys_are_required(house: House, settings: Settings) -> None:
    house.store.fetches.begin("far")
    for scopes in ((Scope.READ,), (Scope.SUBMIT,), (Scope.SUBMIT, Scope.READ)):
        refused = house.caller(*scopes)("POST", f"{API}/far/fetch")
        assert refused.status_code == 403 and refused.get_json()["code"] == "not_allowed"
    user = house.browser(house.key(Scope.SUBMIT, Scope.READ))
    page = user.get("/models")
    assert "Fetch the weights now" not in page.text and "It will be fetched" not in page.text
    assert user.post("/models/far/fetch", data={"token": form_token(page)}, headers=PAGE).status_code == 403
    assert user.get(API).get_json()["models"][0]["fetch"] is None, "what failed may name folders of the server"
    assert house.app.test_client().post(f"{API}/far/fetch").status_code == 401
    assert rung(settings) == 0
    assert house.caller(Scope.ADMIN)("POST", f"{API}/far/fetch").status_code == 202
    operator = house.browser(house.key(Scope.ADMIN))
    assert "It will be fetched" in operator.get("/models").text


def test_a_form_of_another_site_begins_nothing(client: FlaskClient, house: House, settings: Settings) -> None:
    for token in ({}, {"token": "x" * 43}):
        refused = client.post("/models/far/fetch", data=token, headers=PAGE)
        assert refused.status_code == 403 and "load it again" in unescape(refused.text)
    assert client.post(f"{API}/far/fetch", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    admin = house.browser(house.key(Scope.ADMIN))
    assert admin.post(f"{API}/far/fetch").status_code == 403, "a session's cookie alone changes nothing"
    assert rung(settings) == 0


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("absent", 404, "there is no model of this name"),
        ("near", 409, "near has no upstream: its weights lie beside its card"),
    ],
)
def test_what_cannot_be_fetched_is_refused(client: FlaskClient, name: str, status: int, sentence: str) -> None:
    refused = client.post(f"{API}/{name}/fetch")
    assert (refused.status_code, refused.get_json()["detail"]) == (status, sentence)


def test_a_model_that_is_ready_is_not_fetched_and_its_page_just_says_so(
    client: FlaskClient, settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry, tmp_path: Path
) -> None:
    card = registry.get("far")
    ready = replace(card, recorded="a" * 64, weights_path=registry.get("here").weights_path)
    now = make_app(settings, store, blobs, Registry({"far": ready})).test_client()
    refused = now.post(f"{API}/far/fetch")
    assert (refused.status_code, refused.get_json()["detail"]) == (409, "far is ready")
    page = now.get("/models")
    assert now.post("/models/far/fetch", data={"token": form_token(client.get("/models"))}).status_code == 403
    token = re.search(r"pathlight_form=([^;]+)", page.headers["Set-Cookie"])
    assert token is not None
    assert now.post("/models/far/fetch", data={"token": token[1]}).status_code == 303


def test_where_no_process_fetches_the_command_is_named(
    client: FlaskClient, store: JobStore, settings: Settings
) -> None:
    store.leave("fetcher@here")
    refused = client.post(f"{API}/far/fetch")
    assert (refused.status_code, refused.get_json()["code"]) == (503, "no_fetcher")
    assert refused.get_json()["detail"].endswith("run: pathlight models fetch far")
    page = client.get("/models")
    shown = client.post("/models/far/fetch", data={"token": form_token(page)}, headers=PAGE)
    assert shown.status_code == 503 and "pathlight models fetch far" in shown.text and rung(settings) == 0


def test_without_redis_models_are_listed_all_the_same(
    make_client: Callable[[Settings], FlaskClient], settings: Settings, tmp_path: Path
) -> None:
    client = make_client(replace(settings, redis_url=f"unix://{tmp_path}/none.sock"))
    assert listed(client) is None and "Fetch the weights now" in client.get("/models").text


@pytest.fixture
def make_client(blobs: BlobStore, registry: Registry) -> Callable[[Settings], FlaskClient]:
    return lambda settings: make_app(settings, JobStore.connect(settings), blobs, registry).test_client()
