"""The archive of a job: all that it answered, with hashes, and the same bytes every time."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.store.job_store import JobStore
from tests.web.test_api import JOBS, TREE_MODEL, decision_path, refused, run_one
from tests.web.test_api import send as send  # a fixture
from web.api.bundle import archive
from web.api.sending import AT_ONCE
from web.http.turns import share_of


@pytest.fixture
def job_id(send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore) -> str:
    """A job that succeeded, with a decision path."""
    found: str = send().get_json()["id"]
    run_one(store, blobs, path=decision_path())
    return found


def test_a_bundle_holds_the_job_its_files_and_their_hashes(client: FlaskClient, job_id: str) -> None:
    job = client.get(f"{JOBS}/{job_id}").get_json()
    response = client.get(job["links"]["bundle"])
    assert response.status_code == 200 and response.content_type == "application/zip"
    assert response.headers["Content-Disposition"] == f'attachment; filename="pathlight-{job_id}.zip"'
    with zipfile.ZipFile(io.BytesIO(response.data)) as bundle:
        assert bundle.testzip() is None
        files = {name: bundle.read(name) for name in bundle.namelist()}
    assert json.loads(files["job.json"]) == job
    linked = set(re.findall(rf"{JOBS}/{job_id}/(artifacts/[^\"]+)", json.dumps(job)))
    assert linked and linked | {"artifacts/picture.jpg", "job.json", "manifest.json"} == set(files)
    for name in linked:
        assert files[name] == client.get(f"{JOBS}/{job_id}/{name}").data
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest == {
        "job": job_id,
        "original_sha256": job["image"]["sha256"],
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    assert np.load(io.BytesIO(files[f"artifacts/{TREE_MODEL}.cam.npy"]), allow_pickle=False).max() == 3
    assert Image.open(io.BytesIO(files[f"artifacts/{TREE_MODEL}.cam.overlay.png"])).size == (451, 300)


def test_the_same_job_gives_the_same_bytes(client: FlaskClient, job_id: str) -> None:
    first, second = (client.get(f"{JOBS}/{job_id}/bundle.zip").data for _ in range(2))
    assert first == second


def test_a_job_without_a_result_has_no_bundle(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore
) -> None:
    job = send().get_json()
    assert "queued" in refused(client.get(job["links"]["bundle"]), 409, "conflict")
    store.cancel(job["id"])
    assert "cancelled" in refused(client.get(job["links"]["bundle"]), 409, "conflict")
    refused(client.get(f"{JOBS}/unknown/bundle.zip"), 404, "not_found")


def test_a_lost_picture_is_told_before_the_archive_is_on_its_way(
    client: FlaskClient, job_id: str, store: JobStore, blobs: BlobStore
) -> None:
    blobs.discard(store.get(job_id).image.sha256)
    refused(client.get(f"{JOBS}/{job_id}/bundle.zip"), 503, "storage")


def test_a_caller_has_its_share_of_the_bundles_on_their_way_and_others_theirs(client: FlaskClient, job_id: str) -> None:
    address = f"{JOBS}/{job_id}/bundle.zip"
    sent = [client.get(address) for _ in range(share_of(AT_ONCE))]
    assert "archives that are being sent are yours" in refused(client.get(address), 429, "too_many_requests")
    with client.get(address, environ_overrides={"REMOTE_ADDR": "127.0.0.2"}) as anothers:
        assert zipfile.is_zipfile(io.BytesIO(anothers.data))
    sent[0].close()
    assert zipfile.is_zipfile(io.BytesIO(client.get(address).data))
    for one in sent:
        one.close()


def test_an_archive_is_made_file_by_file_as_it_is_read() -> None:
    made = []

    def files() -> object:
        for number in range(5):
            made.append(number)
            yield f"{number}.bin", bytes([number]) * 10_000

    parts = archive(files())  # type: ignore[arg-type]
    first = next(parts)
    assert made == [0] and 10_000 < len(first) < 10_200
    with zipfile.ZipFile(io.BytesIO(first + b"".join(parts))) as whole:
        assert [whole.read(name)[0] for name in whole.namelist()] == list(range(5))
