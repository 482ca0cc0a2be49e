"""A job as others read it: its addresses are those that the service answers at."""

from __future__ import annotations

import pytest
from flask import Flask, url_for

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.documents import job_document, job_summary
from shared.jobs import ImageRecord, Job, JobOptions, JobStatus, Lane
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.shared.answers import answer_of
from web.app import create_app

NAME = "gradcam++ of a=b.npy"
JOB = Job(
    "Az09_-x", JobStatus.SUCCEEDED, Lane.INTERACTIVE, JobOptions(("m",)), ImageRecord("a" * 64, 8, 6, "PNG", "c"), 1
)
NAMES = dict.fromkeys(("raw", "heatmap", "overlay"), NAME)
STEP = {"node": "n", "name": "cat", "probability": 0.9}
ANSWER = answer_of(
    {
        "explanations": [
            {
                "artifacts": {"logits": NAME},
                "maps": [{"artifacts": NAMES}],
                "decision_path": {"artifacts": {"tree": NAME}, "steps": [STEP, {**STEP, "map": {"artifacts": NAMES}}]},
            }
        ],
        "timings": {"compute_ms": 3.0},
    }
)


@pytest.fixture
def app(settings: Settings, blobs: BlobStore, registry: Registry) -> Flask:
    store = JobStore.connect(settings)  # which is never asked
    return create_app(settings, store=store, blobs=blobs, bell=Bell(make_celery(settings)), registry=registry)


def test_the_addresses_of_a_job_are_those_of_the_routes(app: Flask) -> None:
    with app.test_request_context():
        assert job_summary(JOB).links.to_dict() == {
            "self": url_for("api.get_job", job_id=JOB.id),
            "events": url_for("api.follow_job", job_id=JOB.id),
            "cancel": url_for("api.cancel_job", job_id=JOB.id),
            "page": url_for("pages.job", job_id=JOB.id),
            "bundle": url_for("api.get_bundle", job_id=JOB.id),
        }
        artifact = url_for("api.get_artifact", job_id=JOB.id, name=NAME)
    explanation = job_document(JOB, ANSWER).to_dict()["result"]["explanations"][0]
    path = explanation["decision_path"]
    held = [explanation, explanation["maps"][0], path, path["steps"][1]["map"]]
    assert [list(entry["artifacts"].values()) for entry in held] == [
        [artifact],
        [artifact] * 3,
        [artifact],
        [artifact] * 3,
    ]
    assert path["steps"][0]["map"] is None


def test_addresses_may_name_the_service() -> None:
    document = job_document(JOB, ANSWER, base="https://example.org/pathlight").to_dict()
    assert document["links"]["page"] == f"https://example.org/pathlight/jobs/{JOB.id}"
    logits = document["result"]["explanations"][0]["artifacts"]["logits"]
    assert logits.startswith(f"https://example.org/pathlight/api/v1/jobs/{JOB.id}/artifacts/gradcam")
