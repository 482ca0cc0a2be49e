"""Who is let in: keys, scopes, owners, sessions, and requests that other sites had a browser make."""

from __future__ import annotations

import io
import re
import secrets
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.jobs import JobError
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from shared.store.keys import Scope
from tests.conftest import encoded
from tests.shared.submissions import collect, raw_client
from tests.web.test_api import run_one
from web.app import create_app
from web.http import access

JOBS = "/api/v1/jobs"
MODEL = "nbdt-cifar10"
PNG = encoded(Image.new("RGB", (40, 30), "orange"))
PAGE = {"Accept": "text/html,*/*"}


@dataclass
class House:
    """A server that requires keys, and callers who hold one each."""

    app: Flask
    store: JobStore
    blobs: BlobStore
    settings: Settings

    def key(self, *scopes: Scope) -> str:
        return self.store.keys.create(secrets.token_hex(4), scopes or (Scope.SUBMIT, Scope.READ))[1]

    def caller(self, *scopes: Scope) -> Callable[..., TestResponse]:
        """Requests with a key of these scopes (submit and read where none is named)."""
        headers, client = {"X-API-Key": self.key(*scopes)}, self.app.test_client()
        return lambda method, path, **more: client.open(
            path, method=method, headers=headers | more.pop("headers", {}), **more
        )

    def browser(self, token: str) -> FlaskClient:
        """A browser that has signed in."""
        client = self.app.test_client()
        signed = client.post("/sign-in", data={"token": form_token(client.get("/sign-in")), "key": token})
        assert signed.status_code == 303
        return client

    def reader(self, settings: Settings) -> FlaskClient:
        """A client of the same house with other settings."""
        return make_app(settings, self.store, self.blobs, Registry.load(settings)).test_client()


def make_app(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> Flask:
    return create_app(settings, store=store, blobs=blobs, bell=Bell(make_celery(settings)), registry=registry)


@pytest.fixture
def house(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> House:
    guarded = replace(settings, keys="required")
    return House(make_app(guarded, store, blobs, registry), store, blobs, guarded)


def picture(**fields: Any) -> dict[str, Any]:
    return {"data": {"image": (io.BytesIO(PNG), "a.png"), "models": MODEL, **fields}}


def form_token(page: TestResponse) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def answer(response: TestResponse) -> tuple[int, bytes, str]:
    """All of an answer that a stranger could compare; every request has an id of its own."""
    kept = {k: v for k, v in response.headers.items() if k not in ("Date", "X-Request-Id")}
    return response.status_code, response.data, repr(sorted(kept.items()))


# -- who needs a key -----------------------------------------------------------------------------------------------


def test_this_machine_needs_no_key_and_everybody_else_does(house: House) -> None:
    client = house.reader(replace(house.settings, keys="auto"))
    assert client.get(f"{JOBS}/x").status_code == 404
    for stranger in ("192.0.2.7", "10.0.0.1", "172.17.0.1", "::ffff:192.0.2.7", "2001:db8::1", "", None):
        refused = client.get(f"{JOBS}/x", environ_overrides={"REMOTE_ADDR": stranger})
        assert refused.status_code == 401, stranger


@pytest.mark.parametrize(
    "exposed", [{"host": "0.0.0.0"}, {"proxy_hops": 1}, {"trusted_hosts": "localhost,example.org"}], ids=str
)
def test_a_server_meant_for_others_asks_this_machine_for_a_key_too(exposed: dict[str, Any], house: House) -> None:
    client = house.reader(replace(house.settings, keys="auto", **exposed))
    assert client.get(f"{JOBS}/x").status_code == 401
    assert client.get("/healthz").status_code == 200


def test_every_route_is_shut_but_the_few_that_are_named_open(house: House) -> None:
    client = house.app.test_client()
    opened = set()
    for rule in house.app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?\w+>", "x", rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if client.open(path, method=method).status_code != 401:
                opened.add(rule.endpoint)
    assert opened == access.OPEN
    for unheard_of in ("/metrics", "/api/v1/batches", "/nothing", "/static/../sign-in/x"):
        assert client.get(unheard_of).status_code == 401


def test_a_missing_or_wrong_key_is_told_how_to_send_one(house: House) -> None:
    client, good = house.app.test_client(), house.key()
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "x"}, {"X-API-Key": good[:-1] + "."}, {"X-API-Key": good * 2}):
        refused = client.get(f"{JOBS}/x", headers=headers)
        assert refused.status_code == 401
        assert refused.get_json()["code"] == "key_required"
        assert "X-API-Key" in refused.get_json()["detail"] and "X-API-Key" in refused.headers["WWW-Authenticate"]
        assert good not in refused.text
    assert client.get(f"{JOBS}/x", headers={"X-API-Key": good}).status_code == 404


def test_a_revoked_key_is_refused_at_once(house: House) -> None:
    token = house.key()
    client, headers = house.app.test_client(), {"X-API-Key": token}
    assert client.get(f"{JOBS}/x", headers=headers).status_code == 404
    house.store.keys.revoke(token.split("_")[1])
    assert client.get(f"{JOBS}/x", headers=headers).status_code == 401


def test_a_key_does_what_its_scopes_say(house: House) -> None:
    submits, reads, both = house.caller(Scope.SUBMIT), house.caller(Scope.READ), house.caller()
    job = submits("POST", JOBS, **picture()).get_json()
    assert job["status"] == "queued"
    refused = submits("GET", job["links"]["self"])
    assert (refused.status_code, refused.get_json()["code"]) == (403, "not_allowed")
    assert "may submit, and this needs read" in refused.get_json()["detail"]
    assert reads("POST", JOBS, **picture()).status_code == 403
    assert reads("GET", "/api/v1/models").status_code == 200
    assert both("GET", "/metrics").status_code == 403
    assert both("POST", JOBS, **picture()).status_code == 202


def test_a_key_that_only_submits_gets_no_result_whatever_it_sends(house: House) -> None:
    submits = house.caller(Scope.SUBMIT)
    first = submits("POST", JOBS, **picture()).get_json()
    while house.store.get(first["id"]).status.value == "queued":
        run_one(house.store, house.blobs)
    known = submits("POST", JOBS, **picture()).get_json()
    assert known["status"] == "succeeded" and known["cached"] and known["result"] is None
    stopped = submits("POST", submits("POST", JOBS, **picture(target="dog")).get_json()["links"]["cancel"]).get_json()
    assert stopped["status"] == "cancelled" and stopped["result"] is None


def test_without_redis_a_key_is_neither_good_nor_bad(house: House, redis_server: Any) -> None:
    read = house.caller()
    redis_server.kill()
    redis_server.wait()
    refused = read("GET", f"{JOBS}/x")
    assert refused.status_code == 503 and refused.headers["Retry-After"]


# -- whose is it ---------------------------------------------------------------------------------------------------


def test_another_keys_job_is_answered_as_an_unknown_id_is(house: House) -> None:
    mine, theirs, admin = house.caller(), house.caller(), house.caller(Scope.ADMIN)
    for state in ("queued", "succeeded"):
        job_id = mine("POST", JOBS, **picture(target="dog" if state == "queued" else "cat")).get_json()["id"]
        if state == "succeeded":
            while house.store.get(job_id).status.value == "queued":
                run_one(house.store, house.blobs)
        unknown = "x" * len(job_id)
        raw = f"/artifacts/{MODEL}.cam.npy"
        for method, rest in (("GET", ""), ("GET", "/artifacts/picture.jpg"), ("GET", raw), ("POST", "/cancel")):
            foreign = theirs(method, f"{JOBS}/{job_id}{rest}")
            assert foreign.status_code == 404
            assert answer(foreign) == answer(theirs(method, f"{JOBS}/{unknown}{rest}")), rest
        page = theirs("GET", f"/jobs/{job_id}")
        assert page.status_code == 404
        assert page.text.replace(job_id, unknown) == theirs("GET", f"/jobs/{unknown}").text
        for caller in (mine, admin):
            assert caller("GET", f"{JOBS}/{job_id}").get_json()["status"] == state
            assert caller("GET", f"{JOBS}/{job_id}/artifacts/picture.jpg").status_code == 200
    assert house.store.get(job_id).status.value == "succeeded"


def test_every_route_of_a_job_asks_whose_it_is(house: House) -> None:
    """Also one that is added later: each is tried with another key's job."""
    mine, theirs = house.caller(), house.caller(Scope.READ, Scope.SUBMIT)
    job_id = mine("POST", JOBS, **picture()).get_json()["id"]
    tried = 0
    for rule in house.app.url_map.iter_rules():
        if "<job_id>" in rule.rule:
            path = re.sub(r"<(?:\w+:)?\w+>", "picture.jpg", rule.rule.replace("<job_id>", job_id))
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                refused = theirs(method, path)
                assert refused.status_code in (404, 403), (method, path)  # 403: of a page's form, without its token
                tried += 1
    assert tried >= 4
    assert house.store.get(job_id).status.value == "queued"


def test_another_keys_job_takes_as_long_as_an_unknown_id(house: House) -> None:
    """The same steps on the server: the medians of many interleaved requests are alike."""
    mine, theirs = house.caller(), house.caller()
    job_id = mine("POST", JOBS, **picture()).get_json()["id"]
    times: dict[str, list[float]] = {job_id: [], "x" * len(job_id): []}
    for _ in range(150):
        for asked, taken in times.items():
            began = time.perf_counter()
            theirs("GET", f"{JOBS}/{asked}")
            taken.append(time.perf_counter() - began)
    foreign, unknown = (statistics.median(taken) for taken in times.values())
    own_noise = statistics.quantiles(times["x" * len(job_id)], n=4)
    assert abs(foreign - unknown) < max(0.15 * unknown, own_noise[2] - own_noise[0])


def test_another_keys_job_costs_redis_the_same_calls_as_an_unknown_id(house: House) -> None:
    mine, theirs = house.caller(), house.caller()
    job_id = mine("POST", JOBS, **picture()).get_json()["id"]
    raw = raw_client(house.settings)

    def calls(asked: str) -> dict[str, int]:
        before = {name: stat["calls"] for name, stat in raw.info("commandstats").items()}
        theirs("GET", f"{JOBS}/{asked}")
        after = {name: stat["calls"] for name, stat in raw.info("commandstats").items()}
        return {name: count - before.get(name, 0) for name, count in after.items()}

    theirs("GET", f"{JOBS}/x")
    assert calls(job_id) == calls("x" * len(job_id))


def test_answers_and_idempotency_keys_are_not_shared_between_owners(house: House) -> None:
    mine, theirs = house.caller(), house.caller()
    first = mine("POST", JOBS, headers={"Idempotency-Key": "k"}, **picture()).get_json()
    run_one(house.store, house.blobs)
    same = theirs("POST", JOBS, headers={"Idempotency-Key": "k"}, **picture()).get_json()
    assert same["id"] != first["id"] and same["status"] == "queued" and not same["cached"]
    other_body = theirs("POST", JOBS, headers={"Idempotency-Key": "k"}, **picture(target="dog"))
    assert other_body.status_code == 409
    assert mine("POST", JOBS, **picture()).get_json()["cached"]


def test_jobs_and_batches_are_listed_and_found_for_their_owner_only(house: House) -> None:
    mine, theirs, admin = house.caller(), house.caller(), house.caller(Scope.ADMIN)
    job_id = mine("POST", JOBS, **picture()).get_json()["id"]
    batch = mine("POST", "/api/v1/batches", **picture()).get_json()["id"]
    for caller, seen in ((mine, True), (admin, True), (theirs, False)):
        listed = [job["id"] for job in caller("GET", JOBS).get_json()["jobs"]]
        assert (job_id in listed) == seen
        assert caller("GET", f"/api/v1/batches/{batch}").status_code == (200 if seen else 404)
    tried = 0
    for rule in house.app.url_map.iter_rules():
        if "<batch_id>" in rule.rule:
            path = rule.rule.replace("<batch_id>", batch)
            path = re.sub(r"<(?:\w+:)?\w+>", "html", path)
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                assert theirs(method, path).status_code in (404, 403), (method, path)
                tried += 1
    assert tried >= 5


def test_what_is_no_longer_kept_is_gone_for_its_owner_and_unknown_to_others(house: House) -> None:
    mine, theirs, admin = house.caller(), house.caller(), house.caller(Scope.ADMIN)
    job_id = mine("POST", JOBS, **picture()).get_json()["id"]
    house.store.fail(house.store.claim(1, claim_id="c")[0], JobError("internal", "x"))
    raw_client(house.settings).zadd(f"{PREFIX}expiry", {job_id: 1})
    assert collect(house.store) == [job_id]
    gone = mine("GET", f"{JOBS}/{job_id}")
    assert (gone.status_code, gone.get_json()["code"]) == (410, "gone")
    assert admin("GET", f"{JOBS}/{job_id}").status_code == 410
    assert answer(theirs("GET", f"{JOBS}/{job_id}")) == answer(theirs("GET", f"{JOBS}/{'x' * len(job_id)}"))


def test_ids_cannot_be_guessed(house: House) -> None:
    mine = house.caller()
    ids = [mine("POST", JOBS, **picture(target=str(n % 10))).get_json()["id"] for n in range(20)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", job_id) for job_id in ids), "128 random bits"
    for place in range(22):
        assert len({job_id[place] for job_id in ids}) > 2 or place == 21


# -- sign in -------------------------------------------------------------------------------------------------------


def test_a_browser_signs_in_with_a_key_and_then_pages_pictures_and_the_api_work(house: House) -> None:
    client = house.app.test_client()
    sent = client.get("/jobs/some?lang=en", headers=PAGE)
    assert sent.status_code == 303
    assert sent.location == "/sign-in?next=/jobs/some?lang%3Den"
    form = client.get(sent.location, headers=PAGE)
    assert 'type="password"' in form.text and "<script" not in form.text
    token = house.key()
    fields = {"token": form_token(form), "key": f" {token} ", "next": "/"}
    signed = client.post("/sign-in", data=fields)
    assert (signed.status_code, signed.location) == (303, "/")
    cookie = next(c for c in signed.headers.getlist("Set-Cookie") if c.startswith("pathlight_session="))
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and token not in cookie
    page = client.get("/", headers=PAGE)
    assert page.status_code == 200 and "Sign out" in page.text and "no-cache" in page.headers["Cache-Control"]
    sent = client.post("/", data={"token": form_token(page), **picture(models=[MODEL])["data"]})
    assert sent.status_code == 303
    job_id = sent.location.rpartition("/")[2]
    assert client.get(f"{JOBS}/{job_id}").status_code == 200
    assert client.get(f"{JOBS}/{job_id}/artifacts/picture.jpg").content_type == "image/jpeg"
    assert house.app.test_client().get(f"{JOBS}/{job_id}/artifacts/picture.jpg").status_code == 401


def test_over_tls_the_session_is_never_sent_in_clear(house: House) -> None:
    client = house.app.test_client()
    page = client.get("/sign-in", base_url="https://localhost")
    fields = {"token": form_token(page), "key": house.key()}
    signed = client.post("/sign-in", data=fields, base_url="https://localhost")
    assert all("; Secure" in cookie for cookie in signed.headers.getlist("Set-Cookie"))


def test_a_wrong_key_or_a_forged_form_opens_no_session(house: House) -> None:
    client = house.app.test_client()
    token = form_token(client.get("/sign-in"))
    wrong = client.post("/sign-in", data={"token": token, "key": house.key()[:-2] + "xx", "next": "/"})
    assert wrong.status_code == 401 and "this key is not valid" in wrong.text.lower()
    for forged in ({}, {"token": "x" * 43}):
        refused = house.app.test_client().post("/sign-in", data={"key": house.key(), **forged})
        assert refused.status_code == 403
        assert "pathlight_session" not in str(refused.headers)


@pytest.mark.parametrize(
    "next_page",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "/\\/evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "javascript:x",
        "x",
    ],
)
def test_signing_in_leads_to_no_other_site(next_page: str, house: House) -> None:
    client = house.app.test_client()
    fields = {"token": form_token(client.get("/sign-in")), "key": house.key(), "next": next_page}
    assert client.post("/sign-in", data=fields).location == "/"


def test_signing_out_and_revoking_end_a_session(house: House) -> None:
    token = house.key()
    here, there = house.browser(token), house.browser(token)
    held = here.get_cookie("pathlight_session")
    assert held is not None
    forged = here.post("/sign-out", data={"token": "x"})
    assert forged.status_code == 403 and here.get("/api/v1/models").status_code == 200
    left = here.post("/sign-out", data={"token": form_token(here.get("/"))})
    assert (left.status_code, left.location) == (303, "/sign-in")
    assert here.get_cookie("pathlight_session") is None
    here.set_cookie("pathlight_session", held.value)
    assert here.get("/api/v1/models").status_code == 401, "the session itself has ended"
    assert there.get("/api/v1/models").status_code == 200
    house.store.keys.revoke(token.split("_")[1])
    assert there.get("/api/v1/models").status_code == 401
    assert there.get("/", headers=PAGE).location == "/sign-in?next=/"


# -- requests that another site had a browser make -----------------------------------------------------------------


def test_with_a_cookie_nothing_is_changed_without_the_sessions_token(house: House) -> None:
    client = house.browser(house.key())
    token = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/").text)
    assert token is not None
    for headers in ({}, {"X-CSRF-Token": "x" * 43}, {"X-CSRF-Token": ""}):
        assert client.post(JOBS, headers=headers, **picture()).status_code == 403
    sent = client.post(JOBS, headers={"X-CSRF-Token": token[1]}, **picture())
    assert sent.status_code == 202
    cancel = sent.get_json()["links"]["cancel"]
    assert client.post(cancel).status_code == 403
    assert house.browser(house.key()).post(cancel, headers={"X-CSRF-Token": token[1]}).status_code == 403
    assert client.post(cancel, headers={"X-CSRF-Token": token[1]}).status_code == 200


def test_every_form_of_the_pages_needs_its_token(house: House) -> None:
    """Also one that is added later."""
    client = house.browser(house.key())
    tried = 0
    for rule in house.app.url_map.iter_rules():
        if "POST" in (rule.methods or ()) and not rule.rule.startswith("/api/"):
            path = re.sub(r"<(?:\w+:)?\w+>", "x", rule.rule)
            assert client.post(path, data={"token": "x" * 43}).status_code == 403, path
            tried += 1
    assert tried >= 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
    ids=str,
)
def test_without_keys_too_another_site_cannot_have_a_browser_submit(headers: dict[str, str], house: House) -> None:
    client = house.reader(replace(house.settings, keys="auto"))
    refused = client.post(JOBS, headers=headers, **picture())
    assert (refused.status_code, refused.get_json()["code"]) == (403, "not_allowed")
    for own in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}):
        assert client.post(JOBS, headers=own, **picture()).status_code == 202


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "a b"]
)
def test_on_loopback_a_name_that_was_pointed_here_is_refused(host: str, house: House) -> None:
    client = house.reader(replace(house.settings, keys="auto"))
    for path in ("/", "/healthz", f"{JOBS}/x", "/nothing"):
        assert client.get(path, headers={"Host": host}).status_code == 400
    for own in ("localhost", "localhost:8000", "127.0.0.1:8000"):
        assert client.get("/healthz", headers={"Host": own}).status_code == 200


def test_the_named_hosts_and_no_others_are_served(house: House) -> None:
    client = house.reader(replace(house.settings, trusted_hosts="maps.example.org"))
    assert client.get("/healthz", headers={"Host": "maps.example.org"}).status_code == 200
    assert client.get("/healthz", headers={"Host": "localhost"}).status_code == 400


def test_of_the_forwarded_addresses_exactly_as_many_are_believed_as_there_are_proxies(house: House) -> None:
    forged = {"X-Forwarded-For": "127.0.0.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
    elsewhere: dict[str, Any] = {"headers": forged, "environ_overrides": {"REMOTE_ADDR": "198.51.100.9"}}
    client = house.reader(replace(house.settings, keys="auto"))
    assert client.get(f"{JOBS}/x", **elsewhere).status_code == 401, "without proxies none is believed"
    behind = house.reader(replace(house.settings, proxy_hops=1))
    assert "; Secure" in behind.get("/sign-in", **elsewhere).headers["Set-Cookie"]
    assert "; Secure" not in client.get("/sign-in", **elsewhere).headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        (None, ""),
        ("a socket", ""),
    ],
)
def test_the_addresses_that_a_host_chooses_count_as_one(address: str | None, host: str) -> None:
    assert access.host_of(address) == host
