"""The whole service on this machine, client included, beside the engine alone in this process; and its memory."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from bench.figures import Figure, estimate, median
from bench.quality.context import Sizes, progress
from bench.speed.caller import BATCHES, JOBS, Busy, Caller
from bench.speed.engine import decoded
from bench.speed.race import in_turns, percentile, seconds
from bench.speed.subjects import UPSTREAM, install_random, photographs, precision
from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.cores import usable_cores
from shared.jobs import TERMINAL, JobOptions, JobStatus
from shared.results import Result
from shared.settings import REPOSITORY, Settings
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

CLIENTS = 8
START_SECONDS = 120.0
POLL_SECONDS = 0.1
SHIPPED = ("resnet18-photos100", "nbdt-cifar10")
SMALL = "nbdt-cifar10"
MARKS = {  # in the command lines of the processes
    "redis": "redis-server",
    "web": "gunicorn",
    "worker": "celery",
    "decoders": "shared.images.sandbox.decode",  # of the web server, which only reads archives here, and of the worker
}
TICKS = os.sysconf("SC_CLK_TCK")
ENGINE, BLOBS = "engine, images/s", "picture and result, kB"


@dataclass(frozen=True)
class Service:
    """A running `pathlight run`."""

    pid: int
    url: str
    ready_seconds: float

    def processes(self) -> dict[str, list[int]]:
        """The ids of the service's processes by what they do."""
        found: dict[str, list[int]] = {name: [] for name in MARKS}
        for pid in _descendants(self.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for name, mark in MARKS.items():
                if mark in words:
                    found[name].append(pid)
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time of each kind of process so far."""
        return {name: sum(map(_cpu_seconds, pids)) for name, pids in self.processes().items()}

    def worker_mib(self) -> float:
        """Resident memory of the process that explains: the worker's largest, since it alone holds networks."""
        return max(map(_resident_mib, self.processes()["worker"]))


def service(n: Sizes) -> list[Figure]:
    """Saturated rates, idle latency, start-up and memory."""
    with TemporaryDirectory(prefix="pathlight-bench-") as folder:
        home = Path(folder) / "home"
        for name in UPSTREAM:
            install_random(name, Settings(home=home).registry)
        with running(home) as it:
            model_cache = ModelCache(Registry.load(Settings(home=home)), precision=precision())
            saturated = [
                *_saturated(it, model_cache, UPSTREAM, n["pairs"], n, targets=(">= 0.85", ">= 0.9")),
                *_saturated(it, model_cache, SHIPPED, n["jobs"], n, targets=(None, None)),
            ]
            with Caller(it.url) as caller:
                latency = _idle_overhead(caller, n)
            memory = _memory(it, n)
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
    given = {"PORT": str(port), "PATHLIGHT_HOME": str(home), "PATHLIGHT_PRECISION": precision()}
    environment = {**os.environ, **given}
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


def _saturated(
    it: Service,
    model_cache: ModelCache,
    models: tuple[str, ...],
    jobs: int,
    n: Sizes,
    *,
    targets: tuple[str | None, str | None],
) -> list[Figure]:
    """Engine, single jobs and a batch in turns, all on pictures that nobody has seen before."""
    title, options = " and ".join(models), JobOptions(models=models, methods=("cam",))
    numbers = itertools.count()
    with TemporaryDirectory() as folder:
        blobs = BlobStore(Path(folder))
        ways: dict[str, Callable[[list[bytes]], object]] = {
            "engine": lambda files: _engine(model_cache, blobs, files, options),
            "single jobs": lambda files: _serve_singles(it.url, files, models),
            "a batch": lambda files: _serve_batch(it.url, files, models),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        spent: dict[str, Counter[str]] = {way: Counter() for way in ways}
        walls = dict.fromkeys(ways, 0.0)
        for serve in ways.values():
            serve([_numbered(next(numbers), title) for _ in range(Settings().batch_size)])  # loads the models
        for turn in progress(range(n["rounds"]), f"service beside the engine, {title}"):
            for way in in_turns(list(ways), turn):
                files = [_numbered(next(numbers), title) for _ in range(jobs)]
                before = it.cpu_seconds() | {"client": time.process_time()}
                wall = seconds(partial(ways[way], files))
                after = it.cpu_seconds() | {"client": time.process_time()}
                rates[way].append(jobs / wall)
                spent[way].update({name: after[name] - before[name] for name in after})
                walls[way] += wall
        stored = [len(result.pack()) for result in _answers(model_cache, files[: Settings().batch_size], options)]
        kilobytes = (np.mean([len(data) for data in files]) + np.mean(stored)) / 1000
    pictures = n["rounds"] * jobs
    engine_ms = 1000 * spent["engine"]["client"] / pictures  # the engine runs in this process
    answering = {way: 1000 * (spent[way]["worker"] + spent[way]["decoders"]) / pictures for way in ways}
    beside = {way: 1000 * spent[way].total() / pictures - answering[way] for way in ways}
    return [
        estimate(
            f"service: {way} through HTTP beside the engine, {title}",
            np.array(rates[way]) / np.array(rates["engine"]),
            unit="x",
            statistic=median,
            target=target,
            controls={
                ENGINE: float(np.median(rates["engine"])),
                "service, images/s": float(np.median(rates[way])),
                **{
                    f"{name}, % of the processor time spent": 100 * cpu / (spent[way].total() or 1.0)
                    for name, cpu in spent[way].items()
                },
                per_picture("engine"): engine_ms,
                **{per_picture(name): 1000 * cpu / pictures for name, cpu in spent[way].items()},
                BLOBS: float(kilobytes),
            },
            meaning="Images a second with client, web, Redis and worker on these cores, relative to the engine alone.",
        ).explained(
            f"A picture takes {engine_ms:.0f} ms of a core in the engine alone and "
            f"{answering[way]:.0f} ms in a worker and its decoders that share the cores; client, web and Redis "
            f"take {beside[way]:.1f} ms more. All together keep "
            f"{spent[way].total() / (walls[way] * usable_cores()):.0%} of the cores busy. Beside these, a worker as "
            f"cheap as the engine would reach {engine_ms / (engine_ms + beside[way]):.2f}."
        )
        for way, target in zip(("single jobs", "a batch"), targets, strict=True)
    ]


def per_picture(name: str) -> str:
    """The control that says what a picture costs a kind of process."""
    return f"{name}, ms of a core a picture"


def _engine(model_cache: ModelCache, blobs: BlobStore, files: Sequence[bytes], options: JobOptions) -> None:
    """Decode, explain and store in this process, in the worker's batches."""
    size = Settings().batch_size
    for start in range(0, len(files), size):
        for result in _answers(model_cache, files[start : start + size], options):
            blobs.put(result.pack())


def _answers(model_cache: ModelCache, files: Sequence[bytes], options: JobOptions) -> list[Result]:
    return answer(model_cache, [Query(photo, options) for photo in decoded(files)])


def _serve_singles(url: str, files: Sequence[bytes], models: tuple[str, ...]) -> None:
    """From the first submit to the last terminal state, submitted by several clients at once and polled by one."""
    shares = [files[first::CLIENTS] for first in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS) as clients:
        ids = list(clients.map(lambda share: _submit_each(url, share, models), shares))
    with Caller(url) as caller:
        for job_id in filter(None, itertools.chain.from_iterable(itertools.zip_longest(*ids))):
            _wait(caller, f"{JOBS}/{job_id}", done=_succeeded)


def _submit_each(url: str, files: Sequence[bytes], models: tuple[str, ...]) -> list[str]:
    with Caller(url) as caller:
        return [_submit(caller, data, models) for data in files]


def _serve_batch(url: str, files: Sequence[bytes], models: tuple[str, ...]) -> None:
    """One request with all pictures, and the wait for its end."""
    with Caller(url) as caller:
        batch_id = caller.submit(BATCHES, files, models)
        _wait(caller, f"{BATCHES}/{batch_id}", done=lambda batch: _all_succeeded(batch, len(files)))


def _idle_overhead(caller: Caller, n: Sizes) -> list[Figure]:
    """What the service adds to the computing of one job while nothing else waits."""
    over: list[float] = []
    upload: list[float] = []
    queued: list[float] = []
    for turn in progress(range(n["singles"] + 1), "one job at a time"):
        data = _numbered(turn, "alone")
        began = time.perf_counter()
        job_id = _submit(caller, data, SHIPPED)
        upload.append(1000 * (time.perf_counter() - began))
        timings = _follow(caller, job_id)["result"]["timings"]
        over.append(1000 * (time.perf_counter() - began) - timings["compute_ms"])
        queued.append(timings["queued_ms"])
    meaning = "From before the upload to the event with the result, less the time of decoding, networks and maps."
    return [
        estimate(
            f"service: latency of one job beyond its computing, p{share}",
            over[1:],
            unit="ms",
            statistic=percentile(share),
            target=f"<= {bound}",
            meaning=meaning,
        ).explained(
            f"Uploading takes {np.median(upload[1:]):.1f} ms until it is answered, and a worker has the job "
            f"{np.median(queued[1:]):.1f} ms after it was accepted; the rest is packing and storing the "
            "result, the job's end and the event."
        )
        for share, bound in ((50, 15), (99, 40))
    ]


def _memory(it: Service, n: Sizes) -> list[Figure]:
    """Of the process that explains, before and after many jobs of the small model."""
    sizes, done = {"after start": it.worker_mib()}, 0
    for goal in (n["few"], n["many"]):
        for first in progress(range(done, goal, 500), f"memory, {goal:,} jobs"):
            files = [_numbered(number, "many") for number in range(first, min(first + 500, goal))]
            _serve_batch(it.url, files, (SMALL,))
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


def _submit(caller: Caller, data: bytes, models: tuple[str, ...]) -> str:
    """The job's id. A full queue is waited for."""
    while True:
        try:
            return caller.submit(JOBS, [data], models)
        except Busy:
            time.sleep(0.1)


def _wait(caller: Caller, address: str, *, done: Callable[[dict[str, Any]], bool]) -> None:
    while not done(caller.get(address)):
        time.sleep(POLL_SECONDS)


def _follow(caller: Caller, job_id: str) -> dict[str, Any]:
    """The job at its end, as the last event of its stream tells it."""
    *_, job = caller.events(f"{JOBS}/{job_id}/events")
    if not _succeeded(job):
        raise RuntimeError(f"the event stream of {job_id} ended before the job")
    return job


def _succeeded(job: dict[str, Any]) -> bool:
    """Whether a job has ended. Raises RuntimeError where it did not end well."""
    succeeded = bool(job["status"] == JobStatus.SUCCEEDED)
    if job["status"] in TERMINAL and not succeeded:
        raise RuntimeError(f"a job of the bench {job['status']}: {job['error']}")
    return succeeded


def _all_succeeded(batch: dict[str, Any], count: int) -> bool:
    """The same of a batch of so many."""
    if batch["progress"]["done"] > batch["counts"]["succeeded"]:
        raise RuntimeError(f"jobs of the bench did not end well: {batch['counts']}")
    return bool(batch["counts"]["succeeded"] == count)


def _numbered(number: int, kind: str) -> bytes:
    """A photograph whose bytes no other number or kind has (a comment tells them apart), so that no answer is known."""
    every = photographs()
    data, comment = every[number % len(every)], f"{kind} {number:08d}".encode()
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


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return float(status.split("VmRSS:")[1].split()[0]) / 1024
