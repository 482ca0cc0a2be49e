"""A lock is held by one process at a time, and by none once that has ended."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import AlreadyRunning
from shared.locks import locked
from shared.settings import REPOSITORY

HOLD = """
import sys
from pathlib import Path
from shared.locks import locked
with locked(Path(sys.argv[1]), taken=""):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_refused_with_the_sentence(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(AlreadyRunning, match="it is taken"), locked(tmp_path / "lock", taken="it is taken"):
        pass


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with locked(tmp_path / "lock", taken="it is taken"):
        pass


def test_who_is_patient_waits_for_it(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    held = threading.Event()

    def wait() -> None:
        with locked(tmp_path / "lock", taken="", patient=True):
            held.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not held.wait(0.2)
    holder.stdin.close()
    assert held.wait(10)
    waiting.join()


def test_it_is_let_go_of_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", taken=""):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", taken="it is taken"):
        pass
