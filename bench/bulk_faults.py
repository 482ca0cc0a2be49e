"""Bulk work under fire: client and workers are killed in the middle, and nothing is lost, doubled or different.

    python -m bench.bulk_faults [N] [--strict]

Sends N of CIFAR-10's test pictures (all 10,000 by default) through `pathlight bulk` to a service of its own,
kills client and worker with SIGKILL twice each, lets the same command go on, and compares the table with that of a run
in this machine's own processes. Prints one table, writes bench/out/bulk-faults.json, and after a run of all pictures
docs/measurements/bulk.md. The exit status is 0 when the rig ran, whatever the figures; with --strict a missed target
is an error.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from bench import figures
from bench.figures import Figure
from bench.outcome import publish, require_targets
from bench.page import MEASUREMENTS, block, fill
from shared.settings import REPOSITORY

DATA = REPOSITORY.parent / "shared" / "data" / "cifar10-test.npz"
OUT = REPOSITORY / "bench" / "out" / "bulk-faults.json"
PAGE = MEASUREMENTS / "bulk.md"
EVERY = 10_000  # pictures of CIFAR-10's test set
MODELS = ("resnet18-photos100", "nbdt-cifar10")  # that the page of figures stands on
STRIKES = (0.2, 0.5)  # at which shares of the pictures client and worker are killed
LOOK_SECONDS = 0.1  # between two looks at what is done
TOLERANCE = 1e-4  # of figures, relative and absolute: the size of a batch moves the last bits
_NOT_FIGURES = ("job",)  # what rightly differs between two runs


@dataclass(frozen=True)
class Trial:
    """One trial: its folder, its port, and how its processes see the world."""

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
        models = [word for model in MODELS for word in ("--model", model)]
        return self.start("bulk", pictures, "--out", str(self.folder / out), *models, *more)


@dataclass(frozen=True)
class Verdict:
    """What a trial found. `rows` are those of the table, `known` its different pictures; `strikes` are the kills that
    really met work in the middle, of those that were `wanted`; `seconds` are those of the whole way, with every
    restart."""

    pictures: int
    rows: int
    known: int
    strikes: int
    wanted: int
    differences: list[str]
    seconds: float
    local_seconds: float

    def figures(self) -> list[Figure]:
        n = self.pictures
        return [
            Figure(
                "bulk: kills in the middle of the work",
                self.strikes,
                n=n,
                target=f">= {self.wanted}",
                meaning="SIGKILL to the client, and to the worker with all its processes, at the same moment.",
            ),
            Figure("bulk: pictures without a row", n - self.known, n=n, target="<= 0", meaning="In results.parquet."),
            Figure("bulk: pictures with several rows", self.rows - self.known, n=n, target="<= 0", meaning="As above."),
            Figure(
                "bulk: figures unlike those of a local run",
                len(self.differences),
                n=n,
                target="<= 0",
                meaning=f"Of all columns but the job's id; numbers may differ by {TOLERANCE:g}, relative or absolute, "
                "for the size of a batch moves the last bits.",
            ),
            Figure(
                "bulk: through the service",
                n / self.seconds,
                "images/s",
                n=n,
                meaning="From the first command to the end of the last, with starts, kills, recovery and report.",
            ),
            Figure(
                "bulk: in this machine's own processes",
                n / self.local_seconds,
                "images/s",
                n=n,
                meaning="`pathlight bulk --local`, from start to end.",
            ),
        ]


Watch = Callable[[str, int], None]
"""Told the stage of a trial and how many of its pictures are done."""


def write_pictures(folder: Path, count: int) -> None:
    """CIFAR-10's test pictures as PNG files, in a folder for each class, evenly from all of them."""
    with np.load(DATA) as data:
        images, offsets, labels, names = (data[name] for name in ("images", "offsets", "labels", "names"))
    for i in np.linspace(0, len(labels) - 1, count).astype(int):
        path = folder / str(names[labels[i]]) / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images[offsets[i] : offsets[i + 1]].tobytes())


def trial(
    count: int, folder: Path, *, strikes: Sequence[float] = STRIKES, watch: Watch = lambda stage, done: None
) -> Verdict:
    """One whole trial with `count` pictures in an empty folder. So few that they are done between two looks have no
    middle in which to strike."""
    write_pictures(folder / "pictures", count)
    trial = Trial(folder, free_port())
    with _service(trial) as service:
        began, met_work = time.monotonic(), 0
        for share in strikes:
            client = trial.bulk("out")
            met = _follow(client, folder / "out", watch, until=share * count)
            _kill_worker(service)
            client.send_signal(signal.SIGKILL)
            client.wait()
            met_work += 2 * (met and _rows_done(folder / "out") < count)
        _follow(trial.bulk("out"), folder / "out", watch)
        seconds = time.monotonic() - began
    began = time.monotonic()
    _follow(trial.bulk("local", "--local"), folder / "local", watch)
    local_seconds = time.monotonic() - began
    mine, reference = (_table(folder / name) for name in ("out", "local"))
    known = len({row["path"] for row in mine})
    return Verdict(
        count, len(mine), known, met_work, 2 * len(strikes), differences(mine, reference), seconds, local_seconds
    )


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


def _follow(client: subprocess.Popen[bytes], out: Path, watch: Watch, *, until: float = math.inf) -> bool:
    """Wait until so many pictures are done; False where the client ended first."""
    while client.poll() is None:
        done = _rows_done(out)
        watch(out.name, done)
        if done >= until:
            return True
        time.sleep(LOOK_SECONDS)
    return False


@contextmanager
def _service(trial: Trial) -> Iterator[subprocess.Popen[bytes]]:
    process = trial.start("run")
    try:
        while not _is_ready(trial):
            if process.poll() is not None:
                raise RuntimeError((trial.folder / "log").read_text())
            time.sleep(0.2)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _is_ready(trial: Trial) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{trial.port}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _kill_worker(service: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the worker's whole group; the service starts it again."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    for pid in children:
        if b"worker.app" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.killpg(int(pid), signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@click.command(help=__doc__)
@click.argument("count", type=click.IntRange(2, EVERY), default=EVERY, metavar="[N]")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
def main(count: int, strict: bool) -> None:
    console = Console()
    with tempfile.TemporaryDirectory(prefix="pathlight-bench-") as folder, Progress(console=console) as bars:
        tasks = {
            "out": bars.add_task("through the service", total=count),
            "local": bars.add_task("in local processes", total=count),
        }
        verdict = trial(count, Path(folder), watch=lambda stage, done: bars.update(tasks[stage], completed=done))
    for difference in verdict.differences[:20]:
        console.print(difference, style="red", markup=False)
    found, machine = verdict.figures(), figures.machine(seed=0)
    publish(found, machine, OUT, title="Bulk work under fire", console=console)
    if count == EVERY:
        fill(PAGE, writer="make bulk-faults", text=block(found, machine))
        console.print(f"written: {PAGE}")
    if strict:
        require_targets(found)


if __name__ == "__main__":
    main()
