"""What Prometheus reads: true, of the whole service, for operators alone, and bounded whatever strangers send."""

from __future__ import annotations

import io
import math
import os
import re
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.jobs import ERROR_CODES, JobError, JobStatus, Lane
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from shared.store.overview import observed
from tests.conftest import encoded, wait_for
from tests.shared.submissions import submission
from tests.shared.test_pools import here
from tests.web.test_access import House, make_app, picture
from tests.web.test_api import JOBS, TREE_MODEL, run_one
from web.http import traffic

PNG = encoded(Image.new("RGB", (40, 30), "orange"))
Samples = dict[str, float]


def read(client: FlaskClient) -> Samples:
    """Every sample by its name and labels, as it stands in the text."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert answer.content_type.startswith("text/plain; version=")
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation and family.name.startswith("pathlight_")
        for name, labels, value, *_ in family.samples:
            text = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
            found[f"{name.removeprefix('pathlight_')}{{{text}}}" if text else name.removeprefix("pathlight_")] = value
    return found


def test_a_jobs_way_is_told_from_the_request_to_its_end(client: FlaskClient, store: JobStore, blobs: BlobStore) -> None:
    before = read(client)
    assert before['jobs_ended_total{code="timeout",lane="bulk",status="failed"}'] == 0
    assert before["keeper_last_pass_seconds"] == math.inf
    for colour in ("red", "green", "blue"):
        data = {"image": (io.BytesIO(encoded(Image.new("RGB", (9, 9), colour))), "a.png"), "models": TREE_MODEL}
        assert client.post(JOBS, data=data).status_code == 202
    waiting = read(client)
    assert waiting['queue_jobs{lane="interactive"}'] == waiting['jobs{status="queued"}'] == 3
    assert waiting['queue_limit_jobs{lane="interactive"}'] == 1000
    time.sleep(0.01)
    assert 0 < read(client)['queue_oldest_seconds{lane="interactive"}'] < 60
    run_one(store, blobs)
    (claim,) = store.claim(1, claim_id="second")
    store.fail(claim, JobError("timeout", "too long"))
    store.reap()
    store.heartbeat("worker@here")
    told = read(client)
    assert told['jobs_ended_total{code="timeout",lane="interactive",status="failed"}'] == 1
    assert told['jobs_ended_total{code="",lane="interactive",status="succeeded"}'] == 1
    assert told['jobs{status="failed"}'] == told['jobs{status="succeeded"}'] == told['jobs{status="queued"}'] == 1
    assert (told["jobs_accepted_total"], told["jobs_unaccounted"], told["leases_lost_total"]) == (3, 0, 0)
    assert (
        told['job_wait_seconds_count{lane="interactive"}'] == told['claims_total{attempt="1",lane="interactive"}'] == 2
    )
    assert told["job_compute_seconds_count"] == 1 and told["job_compute_seconds_sum"] == 0.001
    assert told['http_requests_total{method="POST",route="api.submit_job",status="202"}'] == 3
    assert told['http_request_seconds_count{route="api.submit_job"}'] == 3
    assert told['processes{role="worker"}'] == 1 and told["keeper_last_pass_seconds"] < 10
    assert told["redis_up"] == told["redis_append_only"] == 1 and abs(told["redis_clock_ahead_seconds"]) < 1
    assert 0 < told["redis_memory_used_bytes"] < told["redis_memory_limit_bytes"]
    assert told["disk_free_bytes"] > 0 and told["disk_reserve_bytes"] == Settings().disk_reserve_bytes
    assert told[f'model_ready{{default="yes",model="{TREE_MODEL}"}}'] == 1
    assert told['model_ready{default="no",model="resnet18-imagenet"}'] == 0


def test_what_waits_is_told_by_pool_and_so_is_what_no_worker_takes(
    client: FlaskClient, store: JobStore, settings: Settings
) -> None:
    for number, served in enumerate(("large", "large", "large,huge")):  # one pool, which is given another model
        here(store, replace(settings, pool="gpu", pool_models=served), f"{number}@host")
    here(store, replace(settings, pool="slow", pool_lanes="bulk"), "3@host")
    for models, lane in ((("large",), Lane.BULK), (("huge",), Lane.INTERACTIVE), (("small",), Lane.INTERACTIVE)):
        store.submit(submission(models=models, lane=lane))
    time.sleep(0.01)
    told = read(client)
    assert (told['pool_workers{queue="drain.gpu"}'], told['pool_workers{queue="drain.slow"}']) == (3, 1)
    for name, count in (
        ('pool_{}{{lane="interactive",queue="drain.gpu"}}', 1),
        ('pool_{}{{lane="bulk",queue="drain.gpu"}}', 1),
        ('pool_{}{{lane="interactive",queue="drain.slow"}}', 0),
        ('pool_{}{{lane="bulk",queue="drain.slow"}}', 1),
        ('unserved_{}{{lane="interactive"}}', 1),
        ('unserved_{}{{lane="bulk"}}', 0),
    ):
        assert told[name.format("jobs")] == count, name
        assert (0 < told[name.format("oldest_seconds")] < 60) is bool(count), name


def test_buckets_add_up_and_the_last_holds_everything(client: FlaskClient, store: JobStore) -> None:
    for milliseconds in (0.2, 1, 3, 4, 900, 10_000_000):
        store.submit(submission())
        (claim,) = store.claim(1, claim_id=str(milliseconds))
        store.succeed(claim, "b" * 64, compute_ms=milliseconds)
    buckets = {
        float(bound): count
        for name, count in read(client).items()
        for bound in re.findall(r'^job_compute_seconds_bucket\{le="(.+)"\}', name)
    }
    assert [buckets[bound] for bound in (0.001, 0.002, 0.004, 1.024, 4194.304, math.inf)] == [2, 2, 4, 5, 5, 6]
    assert list(buckets) == sorted(buckets) and list(buckets.values()) == sorted(buckets.values())


def test_one_process_tells_what_every_process_did(
    client: FlaskClient,
    settings: Settings,
    store: JobStore,
    blobs: BlobStore,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_app(settings, JobStore.connect(settings), blobs, registry).test_client()
    for _ in range(3):
        other.get("/api/v1/models")
    monkeypatch.setattr(traffic, "FLUSH_SECONDS", 0)
    other.get("/api/v1/models").close()
    client.get("/api/v1/models")
    assert read(client)['http_requests_total{method="GET",route="api.list_models",status="200"}'] == 5


def test_metrics_are_for_operators(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> None:
    guarded = replace(settings, keys="required")
    house = House(make_app(guarded, store, blobs, registry), store, blobs, guarded)
    assert house.app.test_client().get("/metrics").status_code == 401
    assert house.caller(Scope.SUBMIT, Scope.READ)("GET", "/metrics").status_code == 403
    assert house.caller(Scope.ADMIN)("GET", "/metrics").status_code == 200


def test_no_secret_no_id_and_no_word_of_a_stranger_is_told(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry
) -> None:
    guarded = replace(settings, keys="required")
    house = House(make_app(guarded, store, blobs, registry), store, blobs, guarded)
    key, token = store.keys.create("somebody", [Scope.ADMIN])
    client, headers = house.app.test_client(), {"X-API-Key": token}
    job = client.post(JOBS, headers=headers, **picture(image=(io.BytesIO(PNG), "private.png"))).get_json()
    client.get(f"{JOBS}/made-up-id?secret=1", headers=headers)
    client.open("/no/such/page", method="PROPFIND", headers=headers)
    client.open(f"{JOBS}/x", method="BREW-COFFEE", headers=headers)
    store.heartbeat("worker-17@some-host")
    told = client.get("/metrics", headers=headers).text
    words = (job["id"], "private", "made-up", "secret", "PROPFIND", "BREW", "no/such", "some-host", "somebody")
    for word in (*words, key.id, token, job["image"]["sha256"]):
        assert word not in told, word
    assert 'method="other",route="none",status="404"' in told


def test_labels_take_few_values(client: FlaskClient, store: JobStore, settings: Settings) -> None:
    known: dict[str, set[str]] = {
        "lane": set(Lane),
        "queue": {"drain"},
        "status": {*JobStatus, *map(str, range(200, 600))},
        "code": {"", *ERROR_CODES},
        "role": {"worker", "keeper", "sender", "fetcher"},
        "reason": {"shutdown", "trouble"},
        "default": {"yes", "no"},
        "method": {*traffic.METHODS, "other"},
        "route": {"none", *client.application.view_functions},
        "attempt": set("123"),
        "stage": {"decode", "explain", "store"},
        "model": set(Registry.load(Settings()).cards),
    }
    here(store, settings, "a@host")
    store.submit(submission())
    store.claim(1, claim_id="a")
    store.add(observed("stage:decode", 3.0), operation="a")
    client.get("/nothing")
    client.get("/metrics")
    families = text_string_to_metric_families(client.get("/metrics").text)
    for _, labels, *_ in (sample for family in families for sample in family.samples):
        for label in labels.keys() - {"le"}:
            assert labels[label] in known[label], labels


def test_without_redis_the_rest_is_told_no_answer_is_held_up_and_later_nothing_is_missing(
    client: FlaskClient, redis_server: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "FLUSH_SECONDS", 0)
    os.kill(redis_server.pid, signal.SIGSTOP)
    began = time.monotonic()
    served = client.get("/api/v1/models")
    assert served.status_code == 200 and time.monotonic() - began < 2
    told = read(client)
    assert time.monotonic() - began < 9  # it is asked once, and given up after five seconds
    assert told["redis_up"] == 0 and told["disk_free_bytes"] > 0 and "jobs_accepted_total" not in told
    os.kill(redis_server.pid, signal.SIGCONT)
    served.close()
    route = 'http_requests_total{method="GET",route="api.list_models",status="200"}'
    wait_for(lambda: read(client).get(route) == 1, seconds=10)
