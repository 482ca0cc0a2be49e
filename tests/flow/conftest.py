"""A whole service for the flow tests: what `pathlight run` starts, on a port and in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.settings import REPOSITORY
from tests.conftest import wait_for

START_SECONDS = 180.0
SPARING = {"PATHLIGHT_CONCURRENCY": "1"}  # loading the networks takes a process longer than most tests ask of it


@dataclass
class Service:
    """A running `pathlight run`."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def pid_of(self, words: str) -> int:
        """The child of `pathlight run` whose command line holds `words`."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            if words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                return int(pid)
        raise AssertionError(f"no child runs {words!r}: {self.log.read_text()[-2000:]}")

    def kill_group(self, words: str) -> None:
        os.killpg(self.pid_of(words), signal.SIGKILL)

    def stop(self, seconds: float = 15) -> None:
        """Ctrl-C, and wait for the end."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(seconds)

    def is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(home: Path, log: Path, **environment: str) -> Iterator[Service]:
    """A service that is ready, and that is stopped whatever becomes of the test."""
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "run"],
            cwd=REPOSITORY,
            env={**os.environ, "PORT": str(port), "PATHLIGHT_HOME": str(home), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30), log)

    def ready() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"pathlight run ended: {log.read_text()}")
        return service.is_ready()

    try:
        wait_for(ready, seconds=START_SECONDS, pause=0.2)
        yield service
    finally:
        service.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path / "home", tmp_path / "log") as started:
        yield started


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for tests that leave it as they found it."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder / "home", folder / "log", **SPARING) as started:
        yield started
