"""What an earlier version has stored is read by this one: its jobs, results, batches and pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.jobs import JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.cli import earlier
from tests.cli.test_backup import redis_of, run
from web.app import create_app

BACKUPS = sorted(Path(earlier.__file__).parent.glob("*.tar"))


@pytest.fixture(params=BACKUPS, ids=lambda path: path.stem)
def restored(request: pytest.FixtureRequest, settings: Settings) -> Iterator[tuple[JobStore, dict[str, Any]]]:
    """The store of a restored backup, and what the version that made it answered."""
    assert run(settings, "restore", str(request.param)).exit_code == 0
    with redis_of(settings) as store:
        yield store, json.loads(request.param.with_suffix(".json").read_text("utf-8"))


@pytest.fixture
def client(settings: Settings, restored: tuple[JobStore, object], registry: Registry) -> FlaskClient:
    bell, blobs = Bell(make_celery(settings)), BlobStore(settings.blobs)
    return create_app(settings, store=restored[0], blobs=blobs, bell=bell, registry=registry).test_client()


def assert_holds(now: Any, then: Any, where: str = "result") -> None:
    """Whatever was said then is said now; there may be more."""
    if isinstance(then, dict):
        for key, value in then.items():
            assert key in now, f"{where}.{key}"
            assert_holds(now[key], value, f"{where}.{key}")
    elif isinstance(then, list):
        assert len(now) == len(then), where
        for number, pair in enumerate(zip(now, then, strict=True)):
            assert_holds(*pair, f"{where}.{number}")
    else:
        assert now == then, where


def test_there_is_a_backup_of_an_earlier_version() -> None:
    assert "pathlight-0.1.0" in {path.stem for path in BACKUPS}


def test_every_job_is_answered_as_before(
    restored: tuple[JobStore, dict[str, Any]], client: FlaskClient, settings: Settings
) -> None:
    store, answered = restored
    for then in answered["jobs"].values():
        now = client.get(f"/api/v1/jobs/{then['id']}").get_json()
        assert now["status"] == then["status"]
        assert_holds(now["result"], then["result"])
        job = store.get(then["id"])
        if job.status is JobStatus.SUCCEEDED:
            result = Result.unpack(BlobStore(settings.blobs).get(job.result_ref or ""))
            for explanation in result.answer.explanations:
                assert all(entry.raw(result.maps).size for _, entry in explanation.all_maps())


def test_every_page_file_and_report_is_there(restored: tuple[JobStore, dict[str, Any]], client: FlaskClient) -> None:
    for then in restored[1]["jobs"].values():
        page = client.get(f"/jobs/{then['id']}")
        assert page.status_code == 200 and "internal" not in page.text
        for explanation in (then["result"] or {"explanations": []})["explanations"]:
            for entry in explanation["maps"]:
                for address in entry["artifacts"].values():
                    assert client.get(address).status_code == 200
            assert client.get(explanation["decision_path"]["artifacts"]["tree"]).status_code == 200
    batch = f"/api/v1/batches/{restored[1]['batch']}"
    assert client.get(batch).get_json()["counts"]["succeeded"] == 3
    assert len(client.get(f"{batch}/members").get_json()["members"]) == 3
