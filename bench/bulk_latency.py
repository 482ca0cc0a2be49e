"""Interactive work beside bulk work, and two workers beside one.

    python -m bench.bulk_latency [--quick] [--strict]

Prints one table, writes bench/out/bulk-latency.json, and after a full run docs/measurements/bulk.md. The exit status is
0 when the rig ran, whatever the figures; with --strict a missed target is an error.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from rich.console import Console

from bench import figures
from bench.bulk_faults import free_port
from bench.figures import Figure, estimate, median
from bench.outcome import publish, require_targets
from bench.page import MEASUREMENTS, block, fill
from bench.quality.context import Sizes, progress
from bench.speed.race import percentile
from bench.speed.service import running
from bench.speed.store import running_redis
from bench.speed.subjects import photographs
from cli.run import web_command
from pathlight_client import Batch, Pathlight
from shared.broker import DRAIN_QUEUE, KEEP_QUEUE
from shared.cores import usable_cores
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore

OUT = REPOSITORY / "bench" / "out" / "bulk-latency.json"
PAGE = MEASUREMENTS / "bulk.md"
FULL: Sizes = {"singles": 200, "batch": 400, "looked at": 800, "rounds": 3, "pictures": 320}
QUICK: Sizes = {"singles": 4, "batch": 64, "looked at": 32, "rounds": 1, "pictures": 32}
LONGEST_PAUSE = 0.3  # seconds before an interactive job, so that it comes at any moment of a bulk batch
WAIT_SECONDS = 300.0
PAIR = "resnet18-photos100 and nbdt-cifar10"

_numbers = count()


def latency(n: Sizes) -> list[Figure]:
    """The 95th percentile of interactive jobs while nothing else waits, and while the bulk lane is full."""
    with TemporaryDirectory(prefix="pathlight-bench-") as folder, _service(Path(folder)) as pathlight:
        _latencies(pathlight, 8)
        idle = _latencies(pathlight, n["singles"], "interactive jobs alone")
        lane = _Lane(pathlight, n["batch"])
        busy = _latencies(pathlight, n["singles"], "interactive jobs beside bulk", before_each=lane.fill)
        batches = lane.batch_ms(n["looked at"])
        lane.clear()
    p95 = percentile(95)
    longest = p95(np.array(batches))
    return [
        _latency("bulk: interactive p95 while idle", idle, "From before the upload to the answer with the result."),
        _latency("bulk: interactive p95 beside a full bulk lane", busy, f"The same; both lanes ask {PAIR}."),
        estimate(
            "bulk: one bulk batch, p95",
            batches,
            unit="ms",
            statistic=p95,
            controls={"pictures": Settings().batch_size, "median": float(np.median(batches)), "longest": max(batches)},
            meaning="From the claim of a batch to the end of its last job.",
        ),
        estimate(
            "bulk: what a full bulk lane adds to the interactive p95, in bulk batches",
            np.column_stack([idle, busy]),
            unit="batches",
            statistic=lambda rows: (p95(rows[:, 1]) - p95(rows[:, 0])) / longest,
            target="<= 1",
            meaning="A job that comes while a bulk batch runs waits for that batch alone.",
        ),
    ]


def workers(n: Sizes) -> list[Figure]:
    """Images a second of two workers with a core each, relative to one with one core."""
    name = "bulk: two workers beside one, a core each"
    if usable_cores() < 2:
        return [Figure(name, None, reason="this machine has one core")]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with running_redis() as settings, _web(settings) as pathlight:
        for _ in progress(range(n["rounds"]), "two workers beside one"):
            for several in rates:
                rates[several].append(_rate(settings, pathlight, several, n["pictures"]))
    return [
        estimate(
            name,
            np.array(rates[2]) / np.array(rates[1]),
            unit="x",
            statistic=median,
            target=">= 1.7",
            controls={
                "one worker, images/s": float(np.median(rates[1])),
                "two workers, images/s": float(np.median(rates[2])),
            },
            meaning="One batch from its first claim to its last end. Each worker is a process of its own, bound to one "
            "core and so to one thread; Redis and the web server share the same cores.",
        )
    ]


class _Lane:
    """The bulk lane of a service, kept full."""

    def __init__(self, pathlight: Pathlight, size: int) -> None:
        self._pathlight = pathlight
        self._size = size
        self._batches: list[str] = []

    def fill(self) -> None:
        """See to it that much more waits than is taken until the next call."""
        if not self._batches or self._pathlight.batch(self._batches[-1])["counts"]["queued"] < self._size // 2:
            self._batches.append(self._pathlight.submit_batch(_photographs(self._size))["id"])

    def batch_ms(self, most: int) -> list[float]:
        """How long worker batches took, by what the first jobs of the lane say: those of one batch start together."""
        ends: dict[str, list[float]] = defaultdict(list)
        members = (member for batch in self._batches for member in self._pathlight.members(batch))
        for member in islice(members, most):
            if member["status"] == "succeeded":
                ends[member["started_at"]].append(_moment(member["finished_at"]))
        return [1000 * (max(ended) - _moment(started)) for started, ended in ends.items()]

    def clear(self) -> None:
        """Nobody waits for the rest."""
        for batch in self._batches:
            if self._pathlight.batch(batch)["status"] == "running":
                self._pathlight.cancel_batch(batch)


def _latency(name: str, taken: Sequence[float], meaning: str) -> Figure:
    controls = {"median": float(np.median(taken))}
    return estimate(name, taken, unit="ms", statistic=percentile(95), controls=controls, meaning=meaning)


def _latencies(
    pathlight: Pathlight, jobs: int, title: str = "first jobs", *, before_each: Callable[[], None] = lambda: None
) -> list[float]:
    """Milliseconds of jobs one after another, each at a moment that has nothing to do with the last one's end."""
    pauses, taken = random.Random(0), []  # noqa: S311 - chance of a bench
    for _ in progress(range(jobs), title):
        before_each()
        time.sleep(pauses.uniform(0, LONGEST_PAUSE))
        data, began = _photograph(), time.perf_counter()
        job = pathlight.wait(pathlight.submit(data)["id"], seconds=WAIT_SECONDS)
        taken.append(1000 * (time.perf_counter() - began))
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job of the bench {job['status']}: {job['error']}")
    return taken


@contextmanager
def _service(home: Path) -> Iterator[Pathlight]:
    """A client of a whole service of its own."""
    with running(home) as it, Pathlight(it.url) as pathlight:
        yield pathlight


@contextmanager
def _web(settings: Settings) -> Iterator[Pathlight]:
    """A web server on the store of the settings, and a client of it."""
    served = replace(settings, port=free_port())
    with (
        _process(web_command(served), served),
        Pathlight(f"http://127.0.0.1:{served.port}", attempts=30) as pathlight,
    ):
        pathlight.models()
        yield pathlight


def _rate(settings: Settings, pathlight: Pathlight, several: int, pictures: int) -> float:
    """Images a second of so many workers, which have their models loaded."""
    with ExitStack() as started:
        for core in sorted(os.sched_getaffinity(0))[:several]:
            started.enter_context(_worker(settings, core))
        until = time.monotonic() + WAIT_SECONDS
        while JobStore.connect(settings).workers_heard() < several:
            if time.monotonic() > until:
                raise RuntimeError("the workers did not start")
            time.sleep(0.1)
        _ended(pathlight, pathlight.submit_batch(_photographs(several * 32)))
        batch = _ended(pathlight, pathlight.submit_batch(_photographs(pictures)))
        members = list(pathlight.members(batch["id"], limit=100))
    seconds = max(_moment(one["finished_at"]) for one in members) - min(_moment(one["started_at"]) for one in members)
    return pictures / seconds


@contextmanager
def _worker(settings: Settings, core: int) -> Iterator[None]:
    """A worker that may use one core, and so sets itself one thread."""
    name = f"core-{core}@bench"
    command = [
        *(sys.executable, "-m", "celery", "--quiet", "--app", "worker.app", "worker", "--concurrency", "1"),
        *("--queues", f"{DRAIN_QUEUE},{KEEP_QUEUE}", "--without-gossip", "--without-mingle", "--hostname", name),
    ]
    with _process(command, settings) as process:
        os.sched_setaffinity(process.pid, {core})  # before it has children, which inherit it
        yield
    JobStore.connect(settings).leave(name)


@contextmanager
def _process(command: Sequence[str], settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the service, whose words go to a log; it and its children are ended."""
    settings = replace(settings, soft_shutdown_seconds=1.0)
    environment = {
        **os.environ,
        **settings.to_environment(),
        "PYTHONPATH": str(REPOSITORY),
        "REMAP_SIGTERM": "SIGQUIT",
    }
    with (settings.home / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ended(pathlight: Pathlight, batch: Batch) -> Batch:
    until = time.monotonic() + WAIT_SECONDS
    while batch["progress"]["done"] < batch["total"]:
        if time.monotonic() > until:
            raise RuntimeError(f"a batch of the bench has not ended: {batch['counts']}")
        time.sleep(0.25)
        batch = pathlight.batch(batch["id"])
    if batch["counts"]["succeeded"] < batch["total"]:
        raise RuntimeError(f"a batch of the bench failed: {batch['counts']}")
    return batch


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _photographs(several: int) -> list[bytes]:
    return [_photograph() for _ in range(several)]


def _photograph() -> bytes:
    """A photograph whose bytes no other has (a comment tells them apart), so that no answer is known yet."""
    number, every = next(_numbers), photographs()
    data, comment = every[number % len(every)], f"{number:08d}".encode()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="A trial on a few pictures; its figures mean little.")
@click.option("--strict", is_flag=True, help="Fail where a target is missed.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The JSON to write.")
def main(quick: bool, strict: bool, out: Path) -> None:
    console = Console()
    sizes = QUICK if quick else FULL
    found, machine = [*latency(sizes), *workers(sizes)], figures.machine(seed=0)
    publish(found, machine, out, title="Interactive beside bulk", console=console)
    if not quick:
        fill(PAGE, writer="make bulk-latency", text=block(found, machine))
        console.print(f"written: {PAGE}")
    if strict:
        require_targets(found)


if __name__ == "__main__":
    main()
