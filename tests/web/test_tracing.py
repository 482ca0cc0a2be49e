"""A request's id goes with it: back in its answer, into every line of the log, and along with the job."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared import logs
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded
from tests.web.test_api import JOBS, TREE_MODEL

PNG = encoded(Image.new("RGB", (40, 30), "orange"))


@pytest.fixture
def lines(settings: Settings) -> Iterator[io.StringIO]:
    """What the web server writes, for people."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.formatter(settings))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def submit(client: FlaskClient, request_id: str) -> str:
    data = {"image": (io.BytesIO(PNG), "a.png"), "models": TREE_MODEL}
    answer = client.post(JOBS, data=data, headers={"X-Request-Id": request_id})
    assert answer.status_code == 202 and answer.headers["X-Request-Id"] == request_id
    return str(answer.get_json()["id"])


def test_every_answer_bears_an_id(client: FlaskClient) -> None:
    paths = ("/", "/healthz", "/readyz", f"{JOBS}/unknown", "/nothing", "/metrics", "/static/pathlight.css")
    made = [client.get(path).headers["X-Request-Id"] for path in paths]
    assert len(set(made)) == len(paths)
    assert client.post(JOBS).headers["X-Request-Id"]
    refused = client.get("/", headers={"Host": "elsewhere.example", "X-Request-Id": "mine"})
    assert (refused.status_code, refused.headers["X-Request-Id"]) == (400, "mine")
    assert client.get("/", headers={"X-Request-Id": "no good"}).headers["X-Request-Id"] != "no good"


def test_a_job_takes_the_id_along(client: FlaskClient, store: JobStore, lines: io.StringIO) -> None:
    job_id = submit(client, "from-a-client")
    (claim,) = store.claim(1, claim_id="a")
    assert (claim.id, claim.request_id) == (job_id, "from-a-client")
    accepted, answered = lines.getvalue().splitlines()
    assert f"job {job_id} accepted" in accepted and accepted.endswith("(request from-a-client)")
    assert "POST api.submit_job answered with 202" in answered and answered.endswith("(request from-a-client)")


def test_members_of_a_batch_take_it_along_and_those_that_are_tried_again_too(
    client: FlaskClient, store: JobStore
) -> None:
    data = {"image": [(io.BytesIO(PNG), "a.png")], "models": TREE_MODEL}
    batch = client.post("/api/v1/batches", data=data, headers={"X-Request-Id": "many"}).get_json()
    (claim,) = store.claim(1, claim_id="a")
    assert claim.request_id == "many"
    store.stop(claim, store.get(claim.id).status.EXPIRED)
    assert client.post(f"/api/v1/batches/{batch['id']}/retry").status_code == 200
    (again,) = store.claim(1, claim_id="b")
    assert again.id != claim.id and again.request_id == "many"


def test_what_only_looks_leaves_no_line(client: FlaskClient, lines: io.StringIO) -> None:
    for path in ("/healthz", "/", f"{JOBS}/unknown"):
        client.get(path)
    assert lines.getvalue() == ""


def test_a_path_cannot_forge_a_line(
    client: FlaskClient, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, store: JobStore
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(JobStore, "get", broken)
    answer = client.get(f"{JOBS}/x%0A2026-01-01 00:00:00,000 INFO web.api.acceptance: job y accepted")
    assert answer.status_code == 500 and answer.headers["X-Request-Id"] in answer.get_json()["detail"]
    assert not any(line.startswith("2026-01-01") for line in lines.getvalue().splitlines())
    assert "broken on purpose" in lines.getvalue() and "broken" not in answer.text
