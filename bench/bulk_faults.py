"""Bulk work under fire: client and workers are killed in the middle, and nothing is lost, doubled or different.

`python -m bench.bulk_faults N` sends the first N of CIFAR-10's test pictures (all 10,000 by default) through `pathlight
bulk` to a service of its own, kills client and worker with SIGKILL twice each, lets the same command go on, and
compares the table with that of a run in this machine's own processes.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq

from shared.settings import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data" / "cifar10-test.npz"
MODEL = "nbdt-cifar10"
TOLERANCE = 1e-4  # of figures, relative and absolute: the size of a batch moves the last bits
_NOT_FIGURES = ("job",)  # what rightly differs between two runs


@dataclass(frozen=True)
class Place:
    """Where one trial works, and how its processes see the world."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PORT": str(self.port),
            "PATHLIGHT_HOME": str(self.folder / "home"),
            "PATHLIGHT_LEASE_SECONDS": "5",
            "PATHLIGHT_REAP_SECONDS": "1",
            "PYTHONPATH": str(REPOSITORY),
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments],
                cwd=REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def bulk(self, out: str, *more: str) -> subprocess.Popen[bytes]:
        pictures = str(self.folder / "pictures")
        return self.start("bulk", pictures, "--out", str(self.folder / out), "--model", MODEL, *more)


@dataclass(frozen=True)
class Verdict:
    """What a trial found; `strikes` are the kills that really met work in the middle."""

    pictures: int
    rows: int
    strikes: int
    differences: list[str]
    seconds: float
    local_seconds: float

    @property
    def good(self) -> bool:
        return self.rows == self.pictures and not self.differences and self.strikes == 4


def write_pictures(folder: Path, count: int) -> None:
    """CIFAR-10's test pictures as PNG files, in a folder for each class, evenly from all of them."""
    with np.load(DATA) as data:
        images, offsets, labels, names = (data[name] for name in ("images", "offsets", "labels", "names"))
    for i in np.linspace(0, len(labels) - 1, count).astype(int):
        place = folder / str(names[labels[i]]) / f"{i:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(images[offsets[i] : offsets[i + 1]].tobytes())


def trial(count: int, folder: Path) -> Verdict:
    """One whole trial with `count` pictures in an empty folder."""
    write_pictures(folder / "pictures", count)
    place = Place(folder, _free_port())
    began = time.monotonic()
    with _service(place) as service:
        strikes = 0
        for share in (0.2, 0.5):
            client = place.bulk("out")
            met = _until(lambda: _rows_done(folder / "out") >= share * count, client)  # noqa: B023 - called at once
            _kill_worker(service)
            client.send_signal(signal.SIGKILL)
            client.wait()
            strikes += 2 * (met and _rows_done(folder / "out") < count)
        last = place.bulk("out")
        last.wait()
    seconds, began = time.monotonic() - began, time.monotonic()
    place.bulk("local", "--local").wait()
    mine, reference = (_table(folder / name) for name in ("out", "local"))
    found = differences(mine, reference)
    return Verdict(count, len(mine), strikes, found, seconds, time.monotonic() - began)


def differences(mine: list[dict[str, Any]], reference: list[dict[str, Any]]) -> list[str]:
    """Where two tables differ, by picture and column."""
    if [row["path"] for row in mine] != [row["path"] for row in reference]:
        return ["the pictures differ, or their order"]
    return [
        f"{row['path']} {name}: {row.get(name)!r}, not {other.get(name)!r}"
        for row, other in zip(mine, reference, strict=True)
        for name in sorted({*row, *other} - set(_NOT_FIGURES))
        if not _close(row.get(name), other.get(name), name)
    ]


def _close(one: Any, other: Any, name: str) -> bool:
    if name.endswith(":path"):  # text of figures that stand in other columns
        return (one is None) == (other is None)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_close(a, b, name) for a, b in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


def _table(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist()
    return rows


def _rows_done(out: Path) -> int:
    return 16 * len(list(out.glob("parts/[0-9a-f]*.json")))


def _until(condition: Callable[[], bool], client: subprocess.Popen[bytes]) -> bool:
    """Wait for the condition; False where the client ended first."""
    while client.poll() is None:
        if condition():
            return True
        time.sleep(0.02)
    return False


@contextmanager
def _service(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    process = place.start("run")
    try:
        while not _is_ready(place):
            if process.poll() is not None:
                raise RuntimeError((place.folder / "log").read_text())
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _is_ready(place: Place) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{place.port}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _kill_worker(service: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the worker's whole group; the service starts it again."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    for pid in children:
        if b"worker.app" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.killpg(int(pid), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=10_000, metavar="N")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        verdict = trial(count, Path(folder))
    print(f"{verdict.rows} rows for {verdict.pictures} pictures; {verdict.strikes} of 4 kills met work in the middle")
    print(f"{verdict.seconds:.0f} s through the service, {verdict.local_seconds:.0f} s in local processes")
    for difference in verdict.differences[:20]:
        print(difference)
    print(f"{len(verdict.differences)} figures differ from the local run by more than {TOLERANCE:g}")
    sys.exit(not verdict.good)


if __name__ == "__main__":
    main()
