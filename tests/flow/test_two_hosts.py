"""Two hosts over one Redis, with their blobs in a bucket: one is cut off in the middle of a job, and work goes on."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from cli.run import worker_command
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from tests.conftest import encoded, wait_for
from tests.faults.proxy import LossyProxy
from tests.flow.conftest import running
from tests.flow.test_service import ended, submit
from tests.shared.buckets import new_bucket, serving_buckets

LONG = {"models": "nbdt-cifar10", "methods": "occlusion"}
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def bucket() -> Iterator[dict[str, str]]:
    """The variables that name an empty bucket."""
    with serving_buckets() as variables:
        yield {"PATHLIGHT_BLOBS": f"s3://{new_bucket().name}/blobs", **variables}


@contextmanager
def second_host(home: Path, **environment: str) -> Iterator[None]:
    """A worker of one process that shares neither folder nor process with the first host."""
    command = worker_command(Settings(home=home, concurrency=1))
    home.mkdir()
    with (home / "log").open("wb") as log:
        worker = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PATHLIGHT_HOME": str(home), "REMAP_SIGTERM": "SIGQUIT", **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def test_a_host_that_is_cut_off_in_the_middle_of_a_job_loses_it_to_the_other(
    tmp_path: Path, bucket: dict[str, str], photos: dict[str, Image.Image]
) -> None:
    # With one process on each host, two jobs that run are one on each.
    shared = {**bucket, "PATHLIGHT_LEASE_SECONDS": "5", "PATHLIGHT_REAP_SECONDS": "1", "PATHLIGHT_CONCURRENCY": "1"}
    with running(tmp_path / "first", tmp_path / "log", **shared) as first:
        settings = Settings(home=tmp_path / "first")
        store = JobStore.connect(settings)
        link = ExitStack()
        proxy = link.enter_context(LossyProxy(settings.redis_socket, share=0.0, seed=0))
        address = f"redis://127.0.0.1:{proxy.port}/0"
        with link, second_host(tmp_path / "second", REDIS_URL=address, **shared):
            wait_for(lambda: store.workers_heard() == 2, seconds=60, pause=0.2)
            questions = itertools.product(("chelsea", "rocket", "coffee"), CLASSES)  # none twice: that is known then
            ids: list[str] = []

            def both_are_at_work() -> bool:
                """However long the second host takes until its networks are there, and with work that waits: if its job
                ends while it is cut off, it has the next."""
                counts = store.counts()  # all at one moment: one host goes from job to job between two looks
                if counts.get("queued", 0) < 4:
                    name, target = next(questions)
                    ids.append(submit(first, encoded(photos[name]), **LONG, target=target).json()["id"])
                return counts.get("running", 0) == 2 and counts.get("queued", 0) >= 2

            wait_for(both_are_at_work, seconds=60)
            link.close()
            wait_for(lambda: all(ended(first, job_id) for job_id in ids), seconds=120, pause=0.5)
        jobs = [ended(first, job_id) or {} for job_id in ids]
        assert {job["status"] for job in jobs} == {"succeeded"}
        assert sorted(job["attempts"] for job in jobs) == [1] * (len(jobs) - 1) + [2], "one of them was taken over"
        for job in jobs:
            assert first.client.get(job["links"]["bundle"]).status_code == 200
        assert not list(tmp_path.glob("*/blobs/??/*")), "no host keeps what the other needs"
