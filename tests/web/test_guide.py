"""The pages around an answer: what the models page says of a card, and that the rest is there in every language."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from web.app import create_app


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    return make_client(settings, store, blobs, registry)


def make_client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    bell = Bell(make_celery(settings))
    return create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


def section(page: str, name: str) -> str:
    """What a reader sees of one model, in one line."""
    found = re.search(rf'<section[^>]* id="{name}".*?</section>', page, re.S)
    assert found is not None
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[0])).split())


def test_every_model_is_listed_those_asked_by_default_first(client: FlaskClient, registry: Registry) -> None:
    names = re.findall(r'<section[^>]* id="([^"]+)"', client.get("/models").text)
    assert names[:2] == ["efficientnet-lite0-imagenet", "nbdt-cifar10"] and set(names) == set(registry.cards)


def test_a_card_is_said_in_words(client: FlaskClient, registry: Registry) -> None:
    said = section(client.get("/models").text, "nbdt-cifar10")
    card = registry.get("nbdt-cifar10")
    figures = card.facts["accuracy"]
    assert "ready asked by default" in said
    assert f"network alone {figures['network']}%" in said and f"tree, soft rules {figures['soft']}%" in said
    assert "The network was trained with this tree" in said
    assert f"SHA-256 {card.weights.sha256}" in said
    assert "airplane, automobile, bird" in said
    assert "{" not in said


def test_a_model_says_what_it_is_good_for_and_what_its_verdicts_go_by(client: FlaskClient, registry: Registry) -> None:
    page = client.get("/models").text
    for name, card in registry.cards.items():
        assert f"Good for: {card.facts['good_for']}" in section(page, name)
        assert f"A sure answer has a probability of at least {card.limits.sure_at:.0%}." in section(page, name)
    assert "Measured on CIFAR-10 test, 5000 pictures" in section(page, "nbdt-cifar10")
    assert "probably trained" not in section(page, "nbdt-cifar10")
    assert "Nothing was measured for this model: these are the general limits." in section(page, "resnet18-imagenet")


def test_limits_that_were_measured_on_images_that_the_network_had_probably_seen_are_said_to_be(
    client: FlaskClient,
) -> None:
    said = section(client.get("/models").text, "efficientnet-lite0-imagenet")
    assert "An answer below 18.7% counts as a guess." in said and "counts as unfamiliar" in said
    assert "The network was probably trained on these very images, so on new ones it is right less often." in said


def test_a_model_that_is_not_ready_says_how_to_mend_it(client: FlaskClient) -> None:
    said = section(client.get("/models").text, "resnet18-imagenet")
    assert "not ready" in said and "run pathlight models fetch resnet18-imagenet" in said
    assert "Not measured" in said and "11,689,512" in said


def test_a_card_of_ones_own_that_states_little_is_shown_and_escaped(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry, tmp_path: Path
) -> None:
    card = json.loads((registry.get("nbdt-cifar10").folder / "card.json").read_text("utf-8"))
    del card["facts"], card["reliability"]
    card |= {"name": "mine", "title": "<b>Mine</b>"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card), "utf-8")
    client = make_client(settings, store, blobs, Registry.load(settings, folders=[tmp_path]))
    page = client.get("/models").text
    said = section(page, "mine")
    assert "&lt;b&gt;Mine" in page and "Accuracy Not stated." in said and "None: there is no decision path." in said


def test_a_model_of_ones_own_that_was_not_checked_says_how_to_check_it(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    client = make_client(settings, store, blobs, replace(registry, unchecked={"mine": "it was not checked yet"}))
    assert "not ready" in (said := section(client.get("/models").text, "mine"))
    assert "run pathlight models add mine" in said


@pytest.mark.parametrize("path", ["/models", "/meaning", "/history"])
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_page_of_the_guide_is_there_in_every_language(client: FlaskClient, path: str, language: str) -> None:
    page = client.get(path, headers={"Accept-Language": language})
    assert page.status_code == 200 and f'<html lang="{language}">' in page.text
    assert f'<a href="{path}" aria-current="page">' in page.text
    inline = '<script(?![^>]* (?:src=|type="application/json"))'
    assert not re.search(rf'<style|\sstyle=|\son\w+=|javascript:|{inline}|(src|href)="(?![/#])', page.text)


def test_the_history_says_who_can_see_the_jobs(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    note = "This server needs no key: everybody who can reach it can list all jobs and the names of their files."
    open_to_all = make_client(settings, store, blobs, registry).get("/history?lang=en").text
    assert note in open_to_all and "Only the browser keeps the list" not in open_to_all
    guarded = make_client(replace(settings, keys="required"), store, blobs, registry)
    key = store.keys.create("reader", [Scope.READ])[1]
    assert note not in guarded.get("/history?lang=en", headers={"X-API-Key": key}).text
