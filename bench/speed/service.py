"""The whole service on this machine, client included, beside the engine alone in this process; and its memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from bench.figures import Figure, estimate, median
from bench.quality.context import Sizes, progress
from bench.speed.engine import LIMITS
from bench.speed.race import percentile
from bench.speed.subjects import photographs, registry
from shared.blobs import BlobStore
from shared.images import decode
from shared.jobs import JobOptions
from shared.settings import REPOSITORY, Settings
from worker.answers import Asked, answer
from worker.shelf import Shelf

CLIENTS = 8
START_SECONDS = 120.0
POLL_SECONDS = 0.005
TERMINAL = ("succeeded", "failed", "cancelled", "expired")
PAIR = ("resnet18-photos100", "nbdt-cifar10")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Service:
    """A running `pathlight run`."""

    pid: int
    url: str
    ready_seconds: float

    def processes(self) -> dict[str, int]:
        """The service's processes with their ids, by what they do; the worker's pool child is the one that explains."""
        found = {}
        for pid in _descendants(self.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for name, mark in (("redis", "redis-server"), ("web", "gunicorn"), ("worker", "celery")):
                if mark in words:
                    found[name] = pid  # children come after their parents
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of each kind of process so far."""
        return {name: _cpu_seconds(pid) for name, pid in self.processes().items()}

    def worker_mib(self) -> float:
        """Resident memory of the process that explains."""
        status = Path(f"/proc/{self.processes()['worker']}/status").read_text("ascii")
        return float(status.split("VmRSS:")[1].split()[0]) / 1024


def service(n: Sizes) -> list[Figure]:
    """Saturated rates, idle latency, start-up and memory."""
    with TemporaryDirectory(prefix="pathlight-bench-") as folder, running(Path(folder)) as it:
        with httpx.Client(base_url=it.url, timeout=30) as client:
            _submit_and_wait(client, _numbered(0))
            saturated = _saturated(it, client, n)
            latency = _idle_overhead(client, n)
            memory = _memory(it, client, n)
        with running(Path(folder) / "second") as again:
            starts = [it.ready_seconds, again.ready_seconds]
    start = estimate(
        "service: time from start to ready",
        starts,
        unit="s",
        statistic=median,
        target="<= 15",
        meaning="From the command to the first 200 of /readyz, with everything installed.",
    )
    return [*saturated, *latency, start, *memory]


@contextmanager
def running(home: Path) -> Iterator[Service]:
    """Start the service on a free port, and end it. Raises RuntimeError where it does not come up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PORT": str(port), "PATHLIGHT_HOME": str(home)}
    url, began = f"http://127.0.0.1:{port}", time.perf_counter()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "run"], cwd=REPOSITORY, env=environment, stdout=log, stderr=log
        )
    try:
        while not _ready(url):
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise RuntimeError(f"the service did not start: {(home / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        yield Service(process.pid, url, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(30)


def _saturated(it: Service, client: httpx.Client, n: Sizes) -> list[Figure]:
    jobs = n["jobs"]
    engine, served = [], []
    spent: dict[str, float] = {}
    shelf = Shelf(registry())
    with TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        _engine_rate(shelf, blobs, 8)
        for turn in progress(range(n["rounds"]), "service beside the engine"):
            engine.append(_engine_rate(shelf, blobs, jobs))
            before = it.cpu_seconds()
            served.append(_served_rate(client, range(turn * jobs + 1, (turn + 1) * jobs + 1)))
            for name, seconds in it.cpu_seconds().items():
                spent[name] = spent.get(name, 0.0) + seconds - before[name]
    total = sum(spent.values()) or 1.0
    return [
        estimate(
            f"service: single jobs through HTTP beside the engine, {' and '.join(PAIR)}",
            np.array(served) / np.array(engine),
            unit="x",
            statistic=median,
            controls={
                "engine, images/s": float(np.median(engine)),
                "service, images/s": float(np.median(served)),
                **{f"{name}, % of processor time": 100 * seconds / total for name, seconds in spent.items()},
            },
            meaning="Images a second with client, web, Redis and worker on these cores, relative to the engine alone.",
        )
    ]


def _engine_rate(shelf: Shelf, blobs: BlobStore, jobs: int) -> float:
    """Images a second of decode, explain and store in this process, in the worker's batches."""
    options = JobOptions(models=PAIR, methods=("cam",))
    batch = Settings().batch_size
    began = time.perf_counter()
    for start in range(0, jobs, batch):
        pictures = [decode(_numbered(i), LIMITS) for i in range(start, min(start + batch, jobs))]
        for result in answer(shelf, [Asked(picture, options) for picture in pictures]):
            blobs.put(result.pack())
    return jobs / (time.perf_counter() - began)


def _served_rate(client: httpx.Client, numbers: Sequence[int]) -> float:
    """Images a second from the first submit to the last terminal state, submitted by several clients at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda number: _submit(client, _numbered(number)), numbers))
    for job_id in ids:
        _wait(client, job_id, pause=0.05)
    return len(ids) / (time.perf_counter() - began)


def _idle_overhead(client: httpx.Client, n: Sizes) -> list[Figure]:
    """What the service adds to the computing of one job while nothing else waits."""
    over = []
    for turn in progress(range(n["singles"]), "one job at a time"):
        data = _numbered(1_000_000 + turn)
        began = time.perf_counter()
        job = _submit_and_wait(client, data)
        over.append(1000 * (time.perf_counter() - began) - job["result"]["timings"]["compute_ms"])
    meaning = "From before the upload to the answer with the result, less the time the worker computed."
    return [
        estimate(
            f"service: latency of one job beyond its computing, p{share}",
            over,
            unit="ms",
            statistic=percentile(share),
            target=f"<= {bound}",
            meaning=meaning,
        )
        for share, bound in ((50, 15), (99, 40))
    ]


def _memory(it: Service, client: httpx.Client, n: Sizes) -> list[Figure]:
    """Of the process that explains, before and after many jobs of the small model."""
    sizes, done = {"after start": it.worker_mib()}, 0
    for goal in (n["few"], n["many"]):
        for first in progress(range(done, goal, 500), f"memory, {goal:,} jobs"):
            numbers = range(2_000_000 + first, 2_000_000 + min(first + 500, goal))
            with ThreadPoolExecutor(CLIENTS) as clients:
                ids = list(clients.map(lambda i: _submit(client, _numbered(i), models="nbdt-cifar10"), numbers))
            for job_id in ids:
                _wait(client, job_id, pause=0.05)
        done = goal
        sizes[f"after {goal:,} jobs"] = it.worker_mib()
    growth = 100 * (sizes[f"after {n['many']:,} jobs"] / sizes[f"after {n['few']:,} jobs"] - 1)
    return [
        Figure(
            f"service: growth of the worker's memory from {n['few']:,} to {n['many']:,} jobs",
            growth,
            "%",
            n=n["many"],
            target="< 2",
            controls={f"{name}, MiB": size for name, size in sizes.items()},
            meaning="Resident memory of the process that explains.",
        )
    ]


def _submit_and_wait(client: httpx.Client, data: bytes) -> dict[str, Any]:
    return _wait(client, _submit(client, data), pause=POLL_SECONDS)


def _submit(client: httpx.Client, data: bytes, *, models: str | None = None) -> str:
    """The job's id. A full queue is waited for."""
    fields = {"models": models} if models else {}
    while True:
        answered = client.post("/api/v1/jobs", files={"image": ("photo.jpg", data)}, data=fields)
        if answered.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answered.raise_for_status()
            return str(answered.json()["id"])
        time.sleep(0.1)


def _wait(client: httpx.Client, job_id: str, *, pause: float) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = client.get(f"/api/v1/jobs/{job_id}").raise_for_status().json()
        if job["status"] in TERMINAL:
            if job["status"] != "succeeded":
                raise RuntimeError(f"a job of the bench {job['status']}: {job['error']}")
            return job
        time.sleep(pause)


def _numbered(number: int) -> bytes:
    """A photograph whose bytes no other number has (a comment tells them apart), so that no answer is known yet."""
    every = photographs()
    data, comment = every[number % len(every)], f"{number:08d}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _descendants(pid: int) -> list[int]:
    """Process ids, parents first."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *_descendants(int(child))]
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
