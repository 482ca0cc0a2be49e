"""How much one key may ask for: answers past it say when to come back, and other keys do not feel it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.web.test_access import JOBS, House, form_token, make_app, picture

MakeHouse = Callable[..., House]


@pytest.fixture
def make_house(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> MakeHouse:
    def make(*, keys: str = "required", **limits: Any) -> House:
        limited = replace(settings, keys=keys, **limits)
        return House(make_app(limited, JobStore.connect(limited), blobs, registry), store, blobs, limited)

    return make


def too_many(response: TestResponse) -> int:
    """Assert a refusal, and return after how many seconds to try again."""
    assert response.status_code == 429, response.text
    assert response.content_type == "application/problem+json"
    assert response.get_json()["code"] == "too_many_requests"
    return int(response.headers["Retry-After"])


def test_a_key_reads_and_writes_as_often_as_it_may_and_others_do_not_feel_it(make_house: MakeHouse) -> None:
    house = make_house(reads_per_minute=4, writes_per_minute=2)
    mine, theirs = house.caller(), house.caller()
    assert [mine("GET", f"{JOBS}/x").status_code for _ in range(4)] == [404] * 4
    assert 0 < too_many(mine("GET", "/api/v1/models")) <= 61  # whole seconds, rounded up
    assert [mine("POST", JOBS, **picture()).status_code for _ in range(2)] == [202] * 2
    assert 0 < too_many(mine("POST", JOBS, **picture())) <= 61  # whole seconds, rounded up
    left = theirs("GET", f"{JOBS}/x")
    assert left.status_code == 404 and "Retry-After" not in left.headers
    sent = theirs("POST", JOBS, **picture())
    assert sent.status_code == 202 and sent.headers["Retry-After"] == "1"
    assert house.app.test_client().get("/healthz").status_code == 200


def test_the_count_is_shared_by_all_web_processes(make_house: MakeHouse) -> None:
    one, other = make_house(reads_per_minute=2), make_house(reads_per_minute=2)
    headers = {"X-API-Key": one.key()}
    assert one.app.test_client().get(f"{JOBS}/x", headers=headers).status_code == 404
    assert other.app.test_client().get(f"{JOBS}/x", headers=headers).status_code == 404
    too_many(one.app.test_client().get(f"{JOBS}/x", headers=headers))


def test_who_guesses_at_the_sign_in_is_slowed_down(make_house: MakeHouse) -> None:
    house = make_house(sign_ins_per_minute=3)
    client = house.app.test_client()
    fields = {"token": form_token(client.get("/sign-in")), "key": "x"}
    assert [client.post("/sign-in", data=fields).status_code for _ in range(3)] == [401] * 3
    too_many(client.post("/sign-in", data=fields))
    elsewhere = client.post("/sign-in", data=fields, environ_overrides={"REMOTE_ADDR": "192.0.2.9"})
    assert elsewhere.status_code == 401
    assert client.get("/sign-in").status_code == 200


def test_a_key_has_so_many_jobs_waiting_and_others_still_have_room(make_house: MakeHouse) -> None:
    house = make_house(queue_limit_per_key=3, queue_limit=5)
    mine, theirs = house.caller(), house.caller()
    sent = [mine("POST", JOBS, **picture(target=str(n))) for n in range(3)]
    assert [answer.status_code for answer in sent] == [202] * 3
    assert too_many(mine("POST", JOBS, **picture(target="3"))) > 0
    again = mine("POST", JOBS, headers={"Idempotency-Key": "k"}, **picture(target="4"))
    assert too_many(again) > 0
    assert theirs("POST", JOBS, **picture()).status_code == 202
    assert mine("POST", sent[0].get_json()["links"]["cancel"]).status_code == 200
    assert mine("POST", JOBS, headers={"Idempotency-Key": "k"}, **picture(target="4")).status_code == 202
    assert theirs("POST", JOBS, **picture(target="1")).status_code == 202
    full = theirs("POST", JOBS, **picture(target="2"))
    assert full.status_code == 503 and full.get_json()["code"] == "queue_full" and full.headers["Retry-After"]


def test_without_keys_nothing_is_counted(make_house: MakeHouse) -> None:
    client = make_house(keys="off", reads_per_minute=1, writes_per_minute=1, queue_limit_per_key=1).app.test_client()
    assert [client.get(f"{JOBS}/x").status_code for _ in range(3)] == [404] * 3
    assert [client.post(JOBS, **picture(target=str(n))).status_code for n in range(3)] == [202] * 3


@pytest.mark.parametrize("keys", ["required", "off"])
def test_without_redis_the_answer_is_that_redis_is_away(
    keys: str, make_house: MakeHouse, redis_server: subprocess.Popen[bytes]
) -> None:
    house = make_house(keys=keys)
    read = house.caller()
    assert read("GET", f"{JOBS}/x").status_code == 404
    form = house.app.test_client()
    fields = {"token": form_token(form.get("/sign-in")), "key": "pl_" + "0" * 12 + "_" + "x" * 43}
    redis_server.kill()
    redis_server.wait()
    for answer in (read("GET", f"{JOBS}/x"), read("POST", JOBS, **picture()), form.post("/sign-in", data=fields)):
        assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert read("GET", "/healthz").status_code == 200
