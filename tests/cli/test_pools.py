"""Pools of real workers: each hears its own queue, takes its own jobs and shows in `pathlight pools`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace

from click.testing import CliRunner

from cli.main import main
from cli.processes import Child, stop_all
from shared.jobs import Lane
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from tests.conftest import wait_for
from tests.documented import commands_of
from tests.shared.submissions import submission


def environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, **settings.to_environment(), "REMAP_SIGTERM": "SIGQUIT", "PYTHONWARNINGS": "ignore"}


def test_the_pages_worker_takes_the_jobs_of_its_pool_and_leaves_others_which_are_reported(
    settings: Settings, store: JobStore
) -> None:
    start, show = (shlex.split(line) for line in commands_of("docs/scaling.md") if "celery" in line or "pools" in line)
    given = dict(word.split("=", 1) for word in start if word.startswith("PATHLIGHT_"))
    model = given["PATHLIGHT_POOL_MODELS"]
    command = [sys.executable, "-m", *start[len(given) :], "--concurrency", "1"]
    one_lane = replace(settings, soft_shutdown_seconds=1)
    worker = Child("worker", command, environment(one_lane) | given | {"PATHLIGHT_POOL_LANES": "interactive"})
    other = store.submit(submission(models=("n",)))
    bulk = store.submit(submission(models=(model,), lane=Lane.BULK))
    own = store.submit(submission(models=(model,)))
    worker.start()
    try:
        wait_for(lambda: store.get(own).status.is_terminal, seconds=60)  # failed: the worker has no such picture
        shown = CliRunner().invoke(main, show[1:], env=settings.to_environment() | {"COLUMNS": "200"}).output
    finally:
        stop_all([worker], seconds=15)
    assert [store.get(one).attempts for one in (other, bulk)] == [0, 0]
    assert shown.split("\n")[1].split() == ["gpu", "drain.gpu", "1", f"{model},", "interactive", "0", "0.0", "s"]
    assert "1 interactive jobs wait for a worker that serves n; none is here" in shown
    assert f"1 bulk jobs wait for a worker that serves {model}; none is here" in shown


def test_a_worker_that_would_hear_another_pool_ends_with_the_reason(settings: Settings, store: JobStore) -> None:
    command = [sys.executable, "-m", "celery", "--app", "worker.app", "worker", "--queues", "drain", "--pool", "solo"]
    given = environment(replace(settings, pool="gpu"))
    ended = subprocess.run(command, env=given, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "PATHLIGHT_POOL='gpu' goes with --queues drain.gpu, not with drain" in ended.stdout + ended.stderr
