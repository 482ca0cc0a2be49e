"""The REST API over a real store, without a worker: what is taken, what is refused, and how."""

from __future__ import annotations

import base64
import io
import random
import secrets
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.jobs import JobError
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.shared.answers import answer_of
from web.api import submission
from web.app import create_app

JOBS = "/api/v1/jobs"
TREE_MODEL = "nbdt-cifar10"


@pytest.fixture
def send(client: FlaskClient, photos: dict[str, Image.Image]) -> Callable[..., TestResponse]:
    """Submit by form: chelsea unless another file is given."""
    chelsea = encoded(photos["chelsea"])

    def submit(
        data: bytes = chelsea, filename: str = "chelsea.png", headers: Any = None, **fields: Any
    ) -> TestResponse:
        fields.setdefault("models", TREE_MODEL)
        form = {"image": (io.BytesIO(data), filename), **fields}
        return client.post(JOBS, data=form, headers=headers)

    return submit


def refused(response: TestResponse, status: int, code: str) -> str:
    """Assert a problem document, and return its sentence."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body = response.get_json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["title"] and "Traceback" not in body["detail"]
    return str(body["detail"])


def run_one(store: JobStore, blobs: BlobStore, *, path: dict[str, Any] | None = None) -> Result:
    """Stand in for a worker: claim one job and finish it with a small asymmetric map, and a decision path if given."""
    claim = store.claim(1, claim_id=secrets.token_hex(8))[0]
    raw = np.zeros((8, 8), np.float32)
    raw[1, 6] = 3.0
    name = f"{TREE_MODEL}.cam"
    entry = {
        "method": "cam",
        "target": {"index": 3, "name": "cat"},
        "contrast": None,
        "layer": "body",
        "grid": [8, 8],
        "artifacts": {"raw": f"{name}.npy", "heatmap": f"{name}.heatmap.png", "overlay": f"{name}.overlay.png"},
        "range": [0.0, 3.0],
        "exactness": {"bias": 0.1, "score": 0.146, "residual": 0.0, "tolerance": 1e-5, "exact": True},
        "warnings": [],
    }
    best = {"index": 3, "name": "cat", "probability": 0.9, "logit": 0.146}
    explanation = {
        "model": TREE_MODEL,
        "prediction": {**best, "top": [best]},
        "maps": [entry],
        "decision_path": path,
        "input": {"box": [75, 0, 375, 300], "size": 32},
    }
    document = {"explanations": [explanation], "provenance": {}, "timings": {"compute_ms": 1.0}, "warnings": []}
    result = Result(answer_of(document), {name: raw})
    assert store.succeed(claim, blobs.put(result.pack()), compute_ms=1.0)
    return result


def decision_path() -> dict[str, Any]:
    """One decision, whose map is that of the class."""
    raw = f"{TREE_MODEL}.cam.npy"
    names = {"raw": raw, "heatmap": "step-1.heatmap.png", "overlay": "step-1.overlay.png"}
    step = {"node": "n1", "name": "cat", "probability": 0.9, "path_probability": 0.9, "entropy": 0.3}
    return {
        "mode": "soft",
        "prediction": {"index": 3, "name": "cat"},
        "agrees_with_network": True,
        "weakest": 0,
        "runner_up": None,
        "artifacts": {"tree": f"{TREE_MODEL}.tree.svg"},
        "steps": [
            {
                **step,
                "siblings": [{"node": "n2", "name": "<dog> & co", "probability": 0.1}],
                "map": {"against": "n2", "artifacts": names},
            }
        ],
    }


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_photo_is_accepted_with_its_place_and_a_hint_when_to_ask(send: Callable[..., TestResponse]) -> None:
    response = send()
    assert response.status_code == 202
    job = response.get_json()
    assert response.headers["Location"].endswith(f"{JOBS}/{job['id']}")
    assert response.headers["Retry-After"]
    assert job["status"] == "queued"
    assert job["queue"]["position"] == 1
    assert job["image"] | {"sha256": ""} == {
        "sha256": "",
        "width": 451,
        "height": 300,
        "format": "PNG",
        "filename": "chelsea.png",
    }
    assert job["options"]["models"] == [TREE_MODEL]


def test_json_says_the_same_as_a_form(client: FlaskClient, photos: dict[str, Image.Image]) -> None:
    body = {"image_base64": base64.b64encode(encoded(photos["coffee"])).decode(), "models": [TREE_MODEL], "target": 3}
    job = client.post(JOBS, json=body).get_json()
    assert job["status"] == "queued"
    assert job["options"]["target"] == "3"


def test_a_job_is_polled_until_its_result_and_its_files_are_there(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job = send().get_json()
    raw = run_one(store, blobs).maps[f"{TREE_MODEL}.cam"]
    done = client.get(job["links"]["self"]).get_json()
    assert done["status"] == "succeeded"
    artifacts = done["result"]["explanations"][0]["maps"][0]["artifacts"]
    fetched = np.load(io.BytesIO(client.get(artifacts["raw"]).data), allow_pickle=False)
    assert np.array_equal(fetched, raw)
    heat = np.asarray(Image.open(io.BytesIO(client.get(artifacts["heatmap"]).data)).convert("L")).astype(float)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert (y * 8 // heat.shape[0], x * 8 // heat.shape[1]) == (1, 6)
    overlay = client.get(artifacts["overlay"] + "?colormap=viridis&alpha=0.5&width=300")
    assert Image.open(io.BytesIO(overlay.data)).width == 300
    assert overlay.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in overlay.headers["Cache-Control"]
    again = client.get(
        artifacts["overlay"] + "?colormap=viridis&alpha=0.5&width=300",
        headers={"If-None-Match": overlay.headers["ETag"]},
    )
    assert again.status_code == 304


def test_a_bar_a_box_and_a_shared_scale_are_drawn_on_request(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job = send().get_json()
    run_one(store, blobs)
    heatmap = f"{JOBS}/{job['id']}/artifacts/{TREE_MODEL}.cam.heatmap.png?width=240"

    def drawn(query: str) -> tuple[str, np.ndarray[Any, Any]]:
        response = client.get(heatmap + query)
        assert response.status_code == 200
        return response.headers["ETag"], np.asarray(Image.open(io.BytesIO(response.data)))

    answers = {query: drawn(query) for query in ("", "&bar=1", "&bar=0", "&box=0.5", "&scale=6", "&bar=1&scale=6")}
    plain = answers[""][1]
    assert plain.shape == (240, 240, 3) and np.array_equal(answers["&bar=0"][1], plain)
    for query in ("&bar=1", "&box=0.5"):
        assert answers[query][1].shape[0] > 240
    assert np.array_equal(answers["&bar=1"][1][:240], plain)
    assert answers["&scale=6"][1].sum() < plain.sum()
    assert np.array_equal(answers["&bar=1&scale=6"][1][:240], answers["&scale=6"][1])
    assert len({etag for etag, _ in answers.values()}) == len(answers) - 1, "bar=0 is the default"


def test_the_tree_is_served_as_a_picture_that_can_do_nothing(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job = send().get_json()
    run_one(store, blobs, path=decision_path())
    done = client.get(job["links"]["self"]).get_json()["result"]["explanations"][0]["decision_path"]
    address = done["artifacts"]["tree"]
    tree = client.get(address)
    assert tree.status_code == 200
    assert tree.content_type == "image/svg+xml"
    assert tree.headers["X-Content-Type-Options"] == "nosniff"
    assert tree.headers["Content-Security-Policy"] == "sandbox; default-src 'none'; img-src data:"
    svg = ElementTree.fromstring(tree.data)
    assert "<dog> & co 10.0%" in " ".join(" ".join(svg.itertext()).split())
    (small,) = svg.iter("{http://www.w3.org/2000/svg}image")
    assert small.attrib["href"].startswith("data:image/png;base64,")
    again = client.get(address, headers={"If-None-Match": tree.headers["ETag"]})
    other = client.get(f"{address}?scale=9", headers={"If-None-Match": tree.headers["ETag"]})
    assert (again.status_code, other.status_code) == (304, 200)
    assert other.headers["ETag"] != tree.headers["ETag"] and "all share one scale" in other.text


def test_the_map_of_a_decision_is_drawn_as_a_contrast(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job = send().get_json()
    run_one(store, blobs, path=decision_path())
    drawn = client.get(f"{JOBS}/{job['id']}/artifacts/step-1.heatmap.png?width=80")
    pixels = np.asarray(Image.open(io.BytesIO(drawn.data))).astype(int)
    assert np.ptp(pixels[70, 10]) == 0 and pixels[70, 10, 0] > 240
    assert pixels[15, 65, 0] > pixels[15, 65, 2] + 50


def test_the_picture_is_served_back_without_its_metadata(
    client: FlaskClient, send: Callable[..., TestResponse], photos: dict[str, Image.Image]
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    job = send(encoded(photos["chelsea"], "JPEG", exif=exif), "a.jpg").get_json()
    served = client.get(f"{JOBS}/{job['id']}/artifacts/picture.jpg")
    assert served.content_type == "image/jpeg"
    assert b"secret" not in served.data
    assert Image.open(io.BytesIO(served.data)).size == (451, 300)


def test_the_same_question_is_answered_from_the_store(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    first = send().get_json()
    run_one(store, blobs)
    second = send().get_json()
    assert second["id"] != first["id"]
    assert second["status"] == "succeeded" and second["cached"]
    assert second["result"]["explanations"][0]["prediction"]["name"] == "cat"
    assert send(target="dog").get_json()["status"] == "queued"


def test_an_idempotency_key_gives_the_same_job_for_the_same_body_only(send: Callable[..., TestResponse]) -> None:
    key = {"Idempotency-Key": "abc"}
    first, again = send(headers=key).get_json(), send(headers=key).get_json()
    assert again["id"] == first["id"]
    refused(send(headers=key, target="dog"), 409, "conflict")


def test_a_queued_job_is_cancelled_at_once_and_only_once(
    client: FlaskClient, send: Callable[..., TestResponse]
) -> None:
    job, once = send().get_json(), {"Idempotency-Key": "once"}
    for _ in range(2):  # the second, because the answer to the first was lost
        assert client.post(job["links"]["cancel"], headers=once).get_json()["status"] == "cancelled"
    refused(client.post(job["links"]["cancel"]), 409, "conflict")


def test_a_failed_job_is_an_answer_and_not_an_http_error(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore
) -> None:
    job = send().get_json()
    store.fail(store.claim(1, claim_id="x")[0], JobError("invalid_image", "the picture is damaged"))
    response = client.get(job["links"]["self"])
    assert response.status_code == 200
    assert response.get_json()["error"] == {"code": "invalid_image", "message": "the picture is damaged"}


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "invalid_image"),
        (b"hello, I am a text", 415, "unsupported_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
        (b"GIF89a" + bytes(100), 415, "unsupported_image"),
        (b"\x89PNG\r\n\x1a\n" + b"nonsense" * 10, 400, "invalid_image"),
        (png_header(30_000, 30_000), 413, "image_too_large"),
    ],
)
def test_what_is_not_a_picture_within_limits_is_refused(
    data: bytes, status: int, code: str, send: Callable[..., TestResponse]
) -> None:
    refused(send(data), status, code)


@pytest.mark.parametrize(("mebibytes", "code"), [(11, "image_too_large"), (50, "too_large")])
def test_a_file_over_the_limit_of_a_picture_or_of_a_request_is_refused(
    mebibytes: int, code: str, client: FlaskClient
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head + bytes(mebibytes * 1024 * 1024) + b"\r\n--x--\r\n"
    refused(client.post(JOBS, data=body, content_type="multipart/form-data; boundary=x"), 413, code)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"models": "resnet999"}, "resnet999"),
        ({"methods": "magic"}, "cam"),
        ({"target": "unicorn"}, "unicorn"),
        ({"target": "10"}, "0 to 9"),
        ({"target": "-1"}, "0 to 9"),
        ({"contrast": "unicorn"}, "unicorn"),
        ({"target": "cat", "contrast": "cat"}, "contrast"),
        ({"tree": "oak"}, "marginal"),
        ({"trust": "blind"}, "basic"),
        ({"colour": "red"}, "colour"),
        ({"target": ["cat", "dog"]}, "target"),
        ({"models": "wrn28-10-cifar10"}, "pathlight models fetch"),
    ],
)
def test_a_bad_option_is_named_with_what_is_allowed(
    fields: dict[str, Any], named: str, send: Callable[..., TestResponse]
) -> None:
    response = send(**fields)
    assert response.status_code == 422, response.text
    assert named in response.get_json()["detail"]


def test_a_request_of_another_form_is_refused(client: FlaskClient) -> None:
    refused(client.post(JOBS), 400, "malformed")
    refused(client.post(JOBS, data={"target": "cat"}, content_type="multipart/form-data"), 400, "malformed")
    refused(client.post(JOBS, data="[]", content_type="application/json"), 400, "malformed")
    refused(client.post(JOBS, json={"image_base64": "not base64!"}), 400, "invalid_image")
    refused(client.put(JOBS), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        '{"models": [' + ",".join(["{}"] * 500_000) + "]}",
        "{" + ",".join(f'"a{i}": 1' for i in range(200_000)) + "}",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "[" * 100_000,
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
    ],
    ids=["empty objects", "unknown names", "deep", "deep and cut", "less deep"],
)
def test_json_of_many_values_or_levels_is_refused_before_it_is_read(client: FlaskClient, body: str) -> None:
    began = time.process_time()
    response = client.post(JOBS, data=body, content_type="application/json")
    assert response.status_code in (400, 422) and response.get_json()["code"] in ("malformed", "invalid_option")
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("job_id", ["unknown", "a" * 22, "a" * 2000, "..%2F..%2Fetc%2Fpasswd", "%00", "ü"])
def test_an_unknown_id_is_not_found(client: FlaskClient, job_id: str) -> None:
    for path in ("", "/artifacts/picture.jpg"):
        refused(client.get(f"{JOBS}/{job_id}{path}"), 404, "not_found")
    refused(client.post(f"{JOBS}/{job_id}/cancel"), 404, "not_found")


def test_an_unknown_file_or_style_is_refused(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job = send().get_json()
    base = f"{JOBS}/{job['id']}/artifacts"
    refused(client.get(f"{base}/{TREE_MODEL}.cam.npy"), 404, "not_found")
    run_one(store, blobs)
    refused(client.get(f"{base}/result.json"), 404, "not_found")
    refused(client.get(f"{base}/..%2Fresult.json"), 404, "not_found")
    worse = ("bar=perhaps", "scale=0", "scale=-1", "scale=inf", "scale=x", "box=0", "box=1.5", "box=nan")
    for bad in ("colormap=rainbow", "alpha=2", "alpha=nan", "width=100000", "width=x", *worse):
        refused(client.get(f"{base}/{TREE_MODEL}.cam.overlay.png?{bad}"), 422, "invalid_option")


def test_a_hostile_file_name_is_shown_and_nothing_more(send: Callable[..., TestResponse]) -> None:
    name = "../../<script>alert(1)</script>/..\\x\x07y" + "z" * 5000
    response = send(filename=name)
    assert response.status_code == 202, response.text
    shown = response.get_json()["image"]["filename"]
    assert "/" not in shown and "\\" not in shown and "\n" not in shown
    assert len(shown) <= 120


def test_an_ended_job_can_be_deleted_and_is_gone(client: FlaskClient, send: Callable[..., TestResponse]) -> None:
    job = send().get_json()
    address = job["links"]["self"]
    refused(client.delete(address), 409, "conflict")
    client.post(job["links"]["cancel"])
    assert client.delete(address).status_code == 204
    for forgotten in (address, f"{JOBS}/unknown"):
        refused(client.get(forgotten), 404, "not_found")
        refused(client.delete(forgotten), 404, "not_found")


def test_a_full_queue_answers_503_with_a_time_to_come_back(
    settings: Settings, blobs: BlobStore, registry: Registry, make_store: Callable[..., JobStore], photos: Any
) -> None:
    store = make_store(queue_limit=1)
    app = create_app(settings, store=store, blobs=blobs, bell=Bell(make_celery(settings)), registry=registry)
    client = app.test_client()
    for status, target in ((202, "cat"), (503, "dog")):
        data = {"image": (io.BytesIO(encoded(photos["coffee"])), "c.png"), "models": TREE_MODEL, "target": target}
        response = client.post(JOBS, data=data)
        assert response.status_code == status
    refused(response, 503, "queue_full")
    assert response.headers["Retry-After"]


def test_without_redis_submit_answers_503_and_health_says_why(
    client: FlaskClient, send: Callable[..., TestResponse], redis_server: subprocess.Popen[bytes]
) -> None:
    redis_server.kill()
    redis_server.wait()
    assert refused(send(), 503, "store_unavailable") == "Redis does not answer", "its address is nobody's business"
    refused(client.get("/readyz"), 503, "not_ready")
    assert client.get("/healthz").status_code == 200


def test_ready_means_that_a_worker_was_heard(client: FlaskClient, store: JobStore) -> None:
    assert "no worker" in refused(client.get("/readyz"), 503, "not_ready")
    store.heartbeat("worker@here")
    assert client.get("/readyz").get_json() == {"status": "ready"}


def test_models_are_listed_with_what_they_can_do_and_how_to_mend_them(client: FlaskClient) -> None:
    models = {model["name"]: model for model in client.get("/api/v1/models").get_json()["models"]}
    assert models[TREE_MODEL]["ready"]
    assert models[TREE_MODEL]["classes"][3] == "cat"
    assert models[TREE_MODEL]["tree_modes"] == ["soft", "hard", "marginal"]
    upstream = models["resnet18-imagenet"]
    assert not upstream["ready"]
    assert upstream["remedy"] == "pathlight models fetch resnet18-imagenet"


def test_the_openapi_document_describes_what_is_there(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    paths = document["paths"]
    assert {"/api/v1/jobs", "/api/v1/jobs/{job_id}", "/api/v1/models", "/healthz", "/readyz"} <= set(paths)
    submit = paths["/api/v1/jobs"]["post"]
    assert set(submit["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"202", "400", "409", "413", "415", "422", "503"} <= set(submit["responses"])
    assert "Problem" in document["components"]["schemas"]


def test_the_browsable_page_loads_nothing_from_another_host(client: FlaskClient) -> None:
    page = client.get("/api/v1/docs", follow_redirects=True)
    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://github.com", "")
    assert "http://" not in page.text.replace("http://www.w3.org", "")


def test_every_answer_carries_the_protective_headers(client: FlaskClient, tmp_path: Path) -> None:
    for path in ("/healthz", "/", "/api/v1/models", "/api/v1/jobs/unknown"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 3 * 2**16 - 1, 3 * 2**16, 3 * 2**16 + 1, 10**6])
def test_base64_in_pieces_is_what_it_is_as_a_whole(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert b"".join(submission._from_base64(base64.b64encode(data).decode())) == data


@pytest.mark.parametrize("text", ["QQ==QQ==", "Q", "QQ=", "Q===", "=QQQ", "QQ==\n", "QQ Q", "Ä" * 4, 2**18 * "A" + "="])
def test_what_is_no_base64_is_refused_wherever_it_is(text: str) -> None:
    for before in ("", 2**18 * "A"):
        with pytest.raises(ValueError):
            list(submission._from_base64(before + text))


@pytest.mark.parametrize(("side", "alone"), [(2000, False), (2001, True)])
def test_a_picture_that_takes_long_to_decode_runs_alone(
    side: int, alone: bool, send: Callable[..., TestResponse], store: JobStore
) -> None:
    assert send(encoded(Image.new("L", (side, side)))).status_code == 202
    (claim,) = store.claim(1, claim_id="1")
    assert claim.solo is alone
