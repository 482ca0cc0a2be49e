"""The service under test, `python -m tests.faults.service`: what `pathlight run` starts, with several workers and the
test explainer.

One thread supervises, as there: whatever dies is started again. `pids.json` in the run's folder says who runs.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cli import embedded
from cli.processes import Child, stop_all
from cli.run import StopRequested, interruptible, web_command
from shared.broker import DRAIN_QUEUE, KEEP_QUEUE
from shared.files import replacing
from shared.settings import REPOSITORY, Settings
from tests.faults.history import FOLDER

WORKERS = "PATHLIGHT_FAULTS_WORKERS"
LOOK_SECONDS = 0.1


def main() -> None:
    settings, folder = Settings.load(), Path(os.environ[FOLDER])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = {**os.environ, **settings.to_environment(), "PYTHONPATH": str(REPOSITORY)}
    redis = Child("redis", embedded.prepare(replace(settings, redis_url="")), environment)
    workers = [
        Child(f"worker-{number}", worker_command(settings, number), {**environment, "REMAP_SIGTERM": "SIGQUIT"})
        for number in range(int(os.environ[WORKERS]))
    ]
    others = [*workers, Child("web", web_command(settings), environment)]
    with interruptible():
        try:
            supervise([redis, *others], folder / "pids.json")
        except StopRequested:
            pass
        finally:
            stop_all(others, seconds=10)
            stop_all([redis], seconds=5)


def supervise(children: Sequence[Child], pids: Path) -> None:
    """Start every child, and again whenever it has died; without a pause, for the faults are ours."""
    while True:
        for child in children:
            if not child.alive:
                child.kill_group()
                child.start()
                _write(pids, {one.name: one.process.pid for one in children if one.process is not None})
        time.sleep(LOOK_SECONDS)


def worker_command(settings: Settings, number: int) -> list[str]:
    """As `cli.run.worker_command`, with a name and a clock of its own for each worker."""
    return [
        *(sys.executable, "-m", "celery", "--quiet", "--app", "tests.faults.worker", "worker", "--beat"),
        *("--queues", f"{DRAIN_QUEUE},{KEEP_QUEUE}", "--concurrency", str(settings.concurrency)),
        *("--schedule", str(settings.home / f"beat-{number}")),
        *("--without-gossip", "--without-mingle", "--hostname", f"worker-{number}@%h"),
    ]


def _write(path: Path, data: dict[str, int]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(data), "utf-8")


if __name__ == "__main__":
    main()
