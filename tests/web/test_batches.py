"""Batches over HTTP, with a real store and no worker: what is taken, what is refused, and how."""

from __future__ import annotations

import csv
import io
import json
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.images.decode import Limits, decode_reduced
from shared.jobs import JobError
from shared.settings import Settings
from shared.store.batches import BatchStore, MemberPage
from shared.store.job_store import JobStore
from tests.conftest import encoded, wait_for
from tests.shared.test_archives import gzipped, tarred, zipped
from tests.web.test_api import TREE_MODEL, refused, run_one
from web.api import reports
from web.api.sending import AT_ONCE
from web.app import create_app
from web.http.problems import Busy
from web.http.turns import Turns, share_of
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

BATCHES = "/api/v1/batches"
LIMITS = Limits(image_bytes=100_000, pixels=10_000, side=100)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, batch_members=20, batch_bytes=400_000, image_bytes=100_000)


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    bell = Bell(make_celery(settings))
    return create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


def picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    return encoded(Image.fromarray(pixels))


def send(client: FlaskClient, files: dict[str, bytes], headers: Any = None, **fields: Any) -> TestResponse:
    fields.setdefault("models", TREE_MODEL)
    parts = [(io.BytesIO(data), name) for name, data in files.items()]
    form = {**fields, "image": parts}
    return client.post(BATCHES, data=form, headers=headers, content_type="multipart/form-data")


def accepted(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.get_json()
    assert response.headers["Location"] == body["links"]["self"]
    return body


def members(client: FlaskClient, batch: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(batch["links"]["members"] + query).get_json()["members"]
    return found


def some(count: int) -> dict[str, bytes]:
    return {f"{i}.png": picture(i) for i in range(count)}


def test_several_pictures_become_one_batch_with_members_in_order(client: FlaskClient) -> None:
    batch = accepted(send(client, some(3), methods=["cam", "gradcam"]))
    assert (batch["status"], batch["total"], batch["progress"]) == ("running", 3, {"done": 0, "total": 3})
    assert batch["counts"]["queued"] == 3
    assert batch["options"]["methods"] == ["cam", "gradcam"]
    found = members(client, batch)
    assert [(one["place"], one["image"]["filename"]) for one in found] == [(0, "0.png"), (1, "1.png"), (2, "2.png")]
    assert client.get(found[0]["links"]["self"]).get_json()["status"] == "queued"


def test_a_batch_that_took_long_to_arrive_holds_on_to_its_first_pictures(
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hasty = replace(settings, lease_seconds=1e-9, blob_grace_seconds=1e-8)  # whatever takes longer is long
    client = create_app(hasty, store=store, blobs=blobs, bell=Bell(make_celery(hasty)), registry=registry).test_client()
    real, kept = BlobStore.keep, []

    def keep(self: BlobStore, ref: str) -> bool:
        kept.append(ref)
        return real(self, ref)

    monkeypatch.setattr(BlobStore, "keep", keep)
    batch = accepted(send(client, some(2)))
    refs = [one["image"]["sha256"] for one in members(client, batch)]
    assert kept == [*refs, *refs], "when it was stored, and when all had arrived"
    monkeypatch.setattr(BlobStore, "keep", lambda self, ref: False)
    assert "send several smaller batches" in refused(send(client, some(2)), 400, "malformed")


@pytest.mark.parametrize("pack", [zipped, tarred, gzipped])
def test_an_archive_becomes_a_batch(client: FlaskClient, pack: Callable[[dict[str, bytes]], bytes]) -> None:
    files = {"cats/0.png": picture(0), "../../1.png": picture(1), "notes.txt": b"no picture"}
    batch = accepted(send(client, {"holiday.zip": pack(files)}))
    assert (batch["name"], batch["total"]) == ("holiday.zip", 3)
    assert batch["counts"] | {"queued": 2, "failed": 1} == batch["counts"]
    found = members(client, batch)
    assert [one["image"]["filename"] for one in found] == ["cats/0.png", "1.png", "notes.txt"]
    assert found[2]["error"]["code"] == "invalid_image"


def test_what_is_no_picture_fails_alone_and_is_listed(client: FlaskClient) -> None:
    files = {**some(2), "bad.png": b"no picture", "empty.png": b"", "large.png": picture(9) + bytes(100_001)}
    batch = accepted(send(client, files))
    assert (batch["counts"]["queued"], batch["counts"]["failed"]) == (2, 3)
    failed = client.get(batch["links"]["failed"]).get_json()["members"]
    assert [one["error"]["message"] for one in failed] == [
        "the file is not a JPEG, PNG or WebP picture",
        "the file is empty",
        "the picture has 100001 bytes; at most 100000 are taken",
    ]
    assert {one["error"]["code"] for one in failed} == {"invalid_image"}


def test_a_batch_ends_with_its_members_whose_maps_come_along_where_asked(
    client: FlaskClient, store: JobStore, blobs: BlobStore
) -> None:
    batch = accepted(send(client, some(1)))
    run_one(store, blobs)
    batch = client.get(batch["links"]["self"]).get_json()
    assert (batch["status"], batch["progress"]["done"], batch["eta_seconds"]) == ("finished", 1, 0)
    plain, full = members(client, batch), members(client, batch, "?maps=true")
    assert "maps" not in plain[0]
    assert full[0]["maps"][f"{TREE_MODEL}.cam.npy"]["shape"] == [8, 8]
    assert plain[0]["result"]["explanations"][0]["maps"][0]["artifacts"]["raw"].endswith(".cam.npy")


def test_an_ended_batch_can_be_deleted_with_its_members(client: FlaskClient, store: JobStore) -> None:
    batch = accepted(send(client, some(3)))
    address, first = batch["links"]["self"], members(client, batch)[0]["links"]
    refused(client.delete(address), 409, "conflict")
    client.post(batch["links"]["cancel"])
    refused(client.delete(first["self"]), 409, "conflict")
    assert client.delete(address).status_code == 204
    refused(client.get(address), 404, "not_found")
    refused(client.get(first["self"]), 404, "not_found")
    assert store.counts()["collected"] == 3


def test_members_are_kept_by_no_cache(client: FlaskClient) -> None:
    batch = accepted(send(client, some(2)))
    for name in ("self", "members", "failed"):
        assert client.get(batch["links"][name]).headers["Cache-Control"] == "no-store"


def test_members_come_page_by_page(client: FlaskClient) -> None:
    batch = accepted(send(client, some(7)))
    seen, address = [], f"{batch['links']['members']}?limit=3&status=queued"
    while address:
        page = client.get(address).get_json()
        assert len(page["members"]) <= 3
        seen += [one["place"] for one in page["members"]]
        address = page["next"]
    assert seen == list(range(7))


def test_pause_resume_cancel_and_their_conflicts(client: FlaskClient, store: JobStore) -> None:
    batch = accepted(send(client, some(2)))
    links = batch["links"]
    assert client.post(links["pause"]).get_json()["status"] == "paused"
    assert store.claim(5, claim_id="a") == []
    assert client.post(links["resume"]).get_json()["status"] == "running"
    for _ in range(2):  # the second, because the answer to the first was lost
        cancelled = client.post(links["cancel"], headers={"Idempotency-Key": "once"}).get_json()
        assert (cancelled["status"], cancelled["counts"]["cancelled"]) == ("cancelled", 2)
    for name in ("pause", "resume", "cancel"):
        refused(client.post(links[name]), 409, "conflict")


def test_retry_runs_the_failed_ones_again(client: FlaskClient, store: JobStore) -> None:
    batch = accepted(send(client, {**some(1), "bad.png": b"x"}))
    (claim,) = store.claim(1, claim_id="a")
    store.fail(claim, JobError("timeout", "It took too long."))
    assert client.post(batch["links"]["retry"]).get_json()["counts"]["queued"] == 1


def test_the_same_key_and_pictures_give_the_same_batch(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    first = accepted(send(client, some(2), headers=headers))
    assert accepted(send(client, some(2), headers=headers))["id"] == first["id"]
    refused(send(client, some(1), headers=headers), 409, "conflict")


def test_the_same_picture_twice_waits_once(client: FlaskClient, store: JobStore) -> None:
    accepted(send(client, {"a.png": picture(0), "b.png": picture(0), "c.png": picture(1)}))
    assert len(store.claim(5, claim_id="a")) == 2


def test_refusals_name_what_is_wrong(client: FlaskClient) -> None:
    assert "at least one picture" in refused(send(client, {}, trust="basic"), 400, "malformed")
    assert "multipart/form-data" in refused(client.post(BATCHES, json={}), 400, "malformed")
    assert "at most 20 pictures" in refused(send(client, some(21)), 413, "batch_too_large")
    assert "nothing" in refused(send(client, some(1), models="nothing"), 422, "invalid_option")
    assert "unknown" in refused(send(client, some(1), unknown="x"), 422, "invalid_option")
    assert "not both" in refused(send(client, {"a.png": picture(0), "b.zip": zipped(some(1))}), 400, "malformed")
    assert "not both" in refused(send(client, {"b.zip": zipped(some(1)), "a.png": picture(0)}), 400, "malformed")
    wrong = client.post(BATCHES, data={"picture": (io.BytesIO(picture(0)), "a.png")})
    assert "named image" in refused(wrong, 400, "malformed")
    assert "damaged" in refused(send(client, {"b.zip": zipped(some(3))[:300]}), 400, "invalid_archive")


def test_a_body_past_the_bound_is_refused_and_one_below_the_bound_of_single_jobs_is_not_needed(
    client: FlaskClient, settings: Settings
) -> None:
    files = {f"{i}.bin": bytes(90_000) for i in range(5)}
    refused(send(client, files), 413, "too_large")
    assert accepted(send(client, dict(list(files.items())[:4])))["counts"]["failed"] == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--x\r\n",
        b"--x\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\nabc",
        b"--x\r\n\r\nabc\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--x--\r\n",
        b"no form at all",
    ],
)
def test_a_broken_form_is_refused(client: FlaskClient, body: bytes) -> None:
    response = client.post(BATCHES, data=body, content_type="multipart/form-data; boundary=x")
    refused(response, 400, "malformed")


def test_an_unknown_batch_is_not_found_and_a_forgotten_one_is_gone(client: FlaskClient, store: JobStore) -> None:
    refused(client.get(f"{BATCHES}/nothing"), 404, "not_found")
    refused(client.get(f"{BATCHES}/nothing/members"), 404, "not_found")
    for name in ("cancel", "pause", "resume", "retry"):
        refused(client.post(f"{BATCHES}/nothing/{name}"), 404, "not_found")


def test_a_wide_archive_is_taken_whole(client: FlaskClient) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(20):
            archive.writestr(f"{i}.png", picture(i))
    assert accepted(send(client, {"a.zip": buffer.getvalue()}))["total"] == 20


# -- reports -------------------------------------------------------------------------------------------------------


@pytest.fixture
def explained(client: FlaskClient, store: JobStore, blobs: BlobStore, registry: Registry) -> dict[str, Any]:
    """A batch of two pictures and a broken file, answered by the model itself."""
    batch = accepted(send(client, {**some(2), "=bad.png": b"no picture"}))
    model_cache = ModelCache(registry)
    for claim in store.claim(5, claim_id="a"):
        result = answer(model_cache, [Query(decode_reduced(blobs.get(claim.image.sha256), LIMITS), claim.options)])[0]
        store.succeed(claim, blobs.put(result.pack()), compute_ms=1)
    return batch


def test_a_report_comes_as_page_table_and_archive(client: FlaskClient, explained: dict[str, Any]) -> None:
    japanese = client.get(explained["links"]["report"], headers={"Accept-Language": "ja"})
    assert '<html lang="ja">' in japanese.text and japanese.headers["Content-Language"] == "ja"
    page = client.get(explained["links"]["report"])
    assert page.content_type == "text/html; charset=utf-8"
    assert "sha256-" in page.headers["Content-Security-Policy"]
    data = json.loads(page.text.split('id="data">')[1].split("</script>")[0])
    assert data["paths"] == ["0.png", "1.png", "=bad.png"]
    assert client.get(data["thumbs"][0][0]).content_type == "image/png"
    rows = list(csv.DictReader(io.StringIO(client.get(explained["links"]["csv"]).text)))
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "failed"]
    assert {row[f"{TREE_MODEL}:cam:exact"] for row in rows[:2]} == {"True"}
    with zipfile.ZipFile(io.BytesIO(client.get(explained["links"]["zip"]).data)) as archive:
        names = archive.namelist()
        assert {"report.html", "results.csv", f"figures/{TREE_MODEL}.decisions.svg"} <= set(names)
        thumbs = [name for name in names if name.startswith("report/thumbs/")]
        assert len(thumbs) == 2
        assert all(name in archive.read("report.html").decode() for name in thumbs)


def test_a_report_that_takes_its_time_is_put_together_once_while_those_who_ask_are_told_how_far_it_is(
    client: FlaskClient, explained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, pages, get = threading.Event(), [], BlobStore.get
    members = BatchStore.members

    def read_slowly(blobs: BlobStore, ref: str) -> bytes:
        assert slow.wait(30)
        return get(blobs, ref)

    def counted(batches: BatchStore, batch_id: str, *, start: int, most: int) -> MemberPage:
        pages.append(start)
        return members(batches, batch_id, start=start, most=most)

    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(BlobStore, "get", read_slowly)
    monkeypatch.setattr(BatchStore, "members", counted)
    for kind in ("report", "csv"):
        response = client.get(explained["links"][kind])
        assert "0 of 3 pictures are read" in refused(response, 503, "report_under_way")
        assert response.headers["Retry-After"] == "2"
        assert ("Refresh" in response.headers) == (kind == "report")
    slow.set()
    wait_for(lambda: client.get(explained["links"]["csv"]).status_code == 200, seconds=30)
    assert client.get(explained["links"]["report"]).status_code == 200
    assert pages == [0]


def test_the_reports_of_one_caller_hold_up_no_others(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [accepted(send(client, some(2))) for _ in range(reports.BUILDS_OF_ONE + 2)]
    for batch in batches:
        client.post(batch["links"]["cancel"])
    go_on, members = threading.Event(), BatchStore.members

    def held(store: BatchStore, batch_id: str, *, start: int, most: int) -> MemberPage:
        assert go_on.wait(30)
        return members(store, batch_id, start=start, most=most)

    monkeypatch.setattr(reports, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(BatchStore, "members", held)
    *mine, third, anothers = (batch["links"]["csv"] for batch in batches)
    for address in [*mine, *mine]:
        refused(client.get(address), 503, "report_under_way")
    assert "2 reports are yours already" in refused(client.get(third), 429, "too_many_requests")
    elsewhere = {"environ_overrides": {"REMOTE_ADDR": "127.0.0.2"}}
    refused(client.get(anothers, **elsewhere), 503, "report_under_way")
    go_on.set()
    for address in (*mine, third):
        wait_for(lambda address=address: client.get(address).status_code == 200, seconds=30)  # type: ignore[misc]
    wait_for(lambda: client.get(anothers, **elsewhere).status_code == 200, seconds=30)


def test_archives_hold_few_threads_at_once_and_give_each_back_read_or_not(
    client: FlaskClient, explained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "write_charts", lambda report, folder: [])
    address = explained["links"]["zip"]
    sent = [client.get(address) for _ in range(share_of(AT_ONCE))]
    assert "archives that are being sent are yours already" in refused(client.get(address), 429, "too_many_requests")
    with client.get(address, environ_overrides={"REMOTE_ADDR": "127.0.0.2"}) as anothers:
        assert anothers.status_code == 200
    assert client.get(explained["links"]["csv"]).status_code == 200, "a table is a matter of moments"
    for unread in sent:
        unread.close()
    for _ in range(AT_ONCE + 1):
        with client.head(address) as looked:
            assert looked.status_code == 200
        with client.get(address) as read:
            assert zipfile.is_zipfile(io.BytesIO(read.data))


def test_pages_and_maps_of_many_are_made_in_turns(
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    registry: Registry,
    explained: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    none_free = Turns("drawings", at_once=0, of_one=1, busy=lambda: Busy("too many drawings are being made"))
    monkeypatch.setattr("web.api.services.drawing_turns", lambda: none_free)
    busy = create_app(settings, store=store, blobs=blobs, bell=Bell(make_celery(settings)), registry=registry)
    links = explained["links"]
    for address in (links["report"], f"{links['members']}?maps=true"):
        assert "too many drawings" in refused(busy.test_client().get(address), 503, "busy")
    assert busy.test_client().get(links["members"]).status_code == 200


def test_a_report_waits_for_the_end_of_its_batch(client: FlaskClient) -> None:
    batch = accepted(send(client, some(2)))
    for kind in ("report", "csv", "zip"):
        detail = refused(client.get(batch["links"][kind]), 409, "conflict")
        assert "0 of 2 members have" in detail
    assert client.get(batch["links"]["self"] + "/report.pdf").status_code in (404, 422)
