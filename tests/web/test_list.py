"""The list of jobs over HTTP: filters, pages, and addresses that lead through them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.blobs.blob_store import BlobStore
from shared.store.job_store import JobStore
from tests.shared.submissions import submission
from tests.web.test_api import JOBS, refused, run_one
from tests.web.test_api import send as send  # a fixture


def test_next_leads_through_all_jobs_newest_first(client: FlaskClient, store: JobStore) -> None:
    ids = [store.submit(submission()) for _ in range(5)][::-1]
    address, seen = f"{JOBS}?limit=2&status=queued", []
    while address:
        page = client.get(address).get_json()
        seen.append([job["id"] for job in page["jobs"]])
        address = page["next"]
    assert seen == [ids[:2], ids[2:4], ids[4:]]


def test_a_listed_job_is_the_job_without_its_result(
    client: FlaskClient, send: Callable[..., TestResponse], store: JobStore, blobs: BlobStore
) -> None:
    job_id = send().get_json()["id"]
    run_one(store, blobs)
    (listed,) = client.get(JOBS).get_json()["jobs"]
    whole = client.get(f"{JOBS}/{job_id}").get_json()
    assert whole.pop("result") is not None
    assert listed == whole


def test_only_those_in_the_asked_state_are_listed(client: FlaskClient, store: JobStore) -> None:
    waiting, cancelled = store.submit(submission()), store.submit(submission())
    store.cancel(cancelled)
    for status, ids in (("queued", [waiting]), ("cancelled", [cancelled]), ("failed", [])):
        assert [job["id"] for job in client.get(f"{JOBS}?status={status}").get_json()["jobs"]] == ids


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=", "cursor"),
        ("cursor=MTI", "cursor"),
        ("cursor=%00%ff", "cursor"),
        ("cursor=YmVmb3JlIC0x", "cursor"),
        ("cursor=" + "x" * 101, "cursor"),
    ],
)
def test_a_bad_filter_is_named(query: str, named: str, client: FlaskClient) -> None:
    assert named in refused(client.get(f"{JOBS}?{query}"), 422, "invalid_option")
