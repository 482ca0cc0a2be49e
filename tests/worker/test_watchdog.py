"""The watchdog: a worker that stands still is ended, one that waits for its store is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore

WORKER = """
import logging, sys, time
from pathlib import Path
from shared.settings import Settings
from shared.store.job_store import JobStore
from worker.queue.watchdog import Watchdog

logging.basicConfig()
watchdog = Watchdog(JobStore.connect(Settings(home=Path(sys.argv[1]))), patience=0.2)
watchdog.start()
for _ in range(int(sys.argv[2])):
    time.sleep(0.05)
    watchdog.reset()
print("standing still", flush=True)
time.sleep(float(sys.argv[3]))
watchdog.stop()
"""


def worker(home: Path, *, rounds: int, standstill: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WORKER, str(home), str(rounds), str(standstill)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def test_a_worker_that_stands_still_while_the_store_answers_is_ended_and_says_where_it_stood(
    store: JobStore, settings: Settings
) -> None:
    store.ping()
    ended = worker(settings.home, rounds=20, standstill=60)
    assert "standing still" in ended.stdout  # a second of work was left alone
    assert ended.returncode == -signal.SIGKILL
    assert "stands still while the store answers" in ended.stderr and 'File "<string>"' in ended.stderr


def test_a_worker_that_waits_for_a_store_which_does_not_answer_is_left_alone(tmp_path: Path) -> None:
    ended = worker(tmp_path, rounds=1, standstill=1.5)
    assert ended.returncode == 0, ended.stderr
