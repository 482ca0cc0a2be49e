"""The job store without any explaining: jobs that cost nothing, through submit, claim and finish on a real Redis."""

from __future__ import annotations

import multiprocessing
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.figures import Figure, estimate, median
from bench.quality.context import Sizes, progress
from bench.speed.delay import delayed
from bench.speed.race import seconds
from cli import embedded
from cli.processes import Child
from shared.answer.answer import Answer
from shared.blobs.blob_store import BlobStore
from shared.errors import StoreUnavailable
from shared.images.decode import Limits
from shared.images.sandbox.decoders import Decoders, Look
from shared.jobs import ImageRecord, JobOptions, Lane
from shared.results import Result
from shared.settings import Settings
from shared.store.connection import connect
from shared.store.job_store import JobStore, Submission
from worker.queue.drain import Drain

ROUND_TRIP_SECONDS = 0.002
REDIS = "redis, ms of a core a job"
NEAR, FAR = "service: jobs that cost nothing", "service: jobs that cost nothing, 2 ms round trips"
PINGS = 100
SUBMITTERS = 8  # threads, as the web server has


def store(n: Sizes) -> list[Figure]:
    """Jobs a second that cost nothing, and the same where each round trip to Redis takes 2 ms more."""
    rates: dict[str, list[float]] = {"near": [], "far": []}
    redis_seconds = 0.0
    with running_redis() as settings, delayed(settings.redis_socket, seconds=ROUND_TRIP_SECONDS) as port:
        far = replace(settings, redis_url=f"redis://127.0.0.1:{port}/0")
        for _ in progress(range(n["rounds"]), "jobs that cost nothing"):
            before = _redis_seconds(settings)
            rates["near"].append(_rate(settings, n["jobs"]))
            redis_seconds += _redis_seconds(settings) - before
            rates["far"].append(_rate(far, n["jobs"]))
        flat = _backlog_cost(settings, n)
        trip_ms, submitted = 1000 * _round_trip(far), _submit_rate(far, n["jobs"])
    redis_ms = 1000 * redis_seconds / (n["rounds"] * n["jobs"])
    batch = settings.batch_size
    return [
        _figure(NEAR, rates["near"], ">= 1500", {REDIS: redis_ms}),
        _figure(FAR, rates["far"], ">= 1000").explained(
            f"A drain has one batch at a time: it ends {batch} jobs and claims the next in one round trip, which takes "
            f"{trip_ms:.1f} ms where nothing else goes on. Redis computes {redis_ms * batch:.1f} ms for so many jobs, "
            f"of which {settings.concurrency} drains end as many every "
            f"{1000 * batch / median(np.array(rates['far'])):.1f} ms. {submitted:,.0f} jobs a second are submitted "
            "where nobody drains. Submitters, drains, Redis and proxy share these cores."
        ),
        flat,
    ]


def _round_trip(settings: Settings) -> float:
    """Seconds to Redis and back."""
    store = JobStore.connect(settings)
    return median(np.array([seconds(store.ping) for _ in range(PINGS)]))


def _submit_rate(settings: Settings, jobs: int) -> float:
    """Jobs a second that are submitted while nobody drains."""
    return jobs / seconds(lambda: _submit_all(settings, jobs))


def _redis_seconds(settings: Settings) -> float:
    """Processor time of the server so far."""
    spent = connect(settings).info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def _figure(name: str, rates: list[float], target: str, controls: Mapping[str, float] | None = None) -> Figure:
    return estimate(
        name,
        rates,
        unit="jobs/s",
        statistic=median,
        target=target,
        controls=controls,
        meaning="Submitted by threads, drained by a worker's processes, each ended with a result; Redis on this host.",
    )


@contextmanager
def running_redis() -> Iterator[Settings]:
    """A Redis as the product starts it, and settings that name it."""
    with TemporaryDirectory(prefix="pathlight-bench-") as folder:
        settings = Settings(home=Path(folder), queue_limit=10_000_000)
        server = Child("redis", embedded.prepare(settings), {})
        server.start()
        try:
            wait_for_redis(settings)
            yield settings
        finally:
            server.kill_group()


def wait_for_redis(settings: Settings) -> None:
    """Until the server answers; raises StoreUnavailable after ten seconds."""
    until = time.monotonic() + 10
    while True:
        try:
            return JobStore.connect(settings).ping()
        except StoreUnavailable:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def _rate(settings: Settings, jobs: int) -> float:
    """Jobs a second from the first submit to the last finish. As many processes drain as a worker has here."""
    context = multiprocessing.get_context("spawn")
    left: Synchronized[int] = context.Value("i", jobs // SUBMITTERS * SUBMITTERS)
    ended: Synchronized[float] = context.Value("d")
    drains = [
        context.Process(target=_drain, args=(settings, f"bench-{number}", left, ended))
        for number in range(settings.concurrency)
    ]
    for drain in drains:
        drain.start()
    _wait_for_heartbeats(settings)
    began = time.monotonic()
    _submit_all(settings, jobs)
    for drain in drains:
        drain.join()
    return jobs // SUBMITTERS * SUBMITTERS / (ended.value - began)


def _wait_for_heartbeats(settings: Settings) -> None:
    store = JobStore.connect(settings)
    while store.workers_heard() < settings.concurrency:
        time.sleep(0.005)


def _submit_all(settings: Settings, jobs: int) -> None:
    """By all submitters at once."""
    threads = [threading.Thread(target=_submit, args=(settings, jobs // SUBMITTERS)) for _ in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _submit(settings: Settings, jobs: int) -> None:
    store = JobStore.connect(settings)
    for _ in range(jobs):
        store.submit(_submission())


def _submission() -> Submission:
    options = JobOptions(models=("none",), methods=("cam",))
    return Submission(options, ImageRecord("0" * 64, 1, 1, "PNG", "nothing.png"))


def _drain(settings: Settings, name: str, left: Synchronized[int], ended: Synchronized[float]) -> None:
    """Drain until none is left to any process, and note when. The explaining is left out; all else is the worker's."""
    store, blobs = JobStore.connect(settings), _OneBlob(settings.blobs)
    result = Result(Answer(timings={"compute_ms": 0.0}), {})
    decoders = Decoders(1)
    decoders.read_squares([Look(_PIXEL, None, Limits.of(settings), "blur", [])])  # a worker's has started before
    drain = Drain(
        store,
        blobs,
        settings,
        cards=lambda claim: {},
        answer=lambda batch, progress: [result] * len(batch),
        ring=lambda: None,
        decoders=decoders,
    )
    store.heartbeat(name)
    while left.value > 0:
        done = drain.run()
        with left.get_lock():
            left.value -= done
            if done:
                ended.value = time.monotonic()  # which all processes of a machine read alike
    store.leave(name)
    decoders.close()


class _OneBlob(BlobStore):
    """Blobs of which every one is the same picture, so that no picture needs to be stored."""

    def get(self, ref: str) -> bytes:
        return _PIXEL


def _backlog_cost(settings: Settings, n: Sizes) -> Figure:
    """Time of a claim and a finish with a long backlog behind them, beside a short one."""
    store = JobStore.connect(settings)
    short = _claim_seconds(store, n["short backlog"])
    long = _claim_seconds(store, n["long backlog"])
    return estimate(
        f"service: cost of a job with {n['long backlog']:,} waiting beside {n['short backlog']:,}",
        [b / a for a, b in zip(short, long, strict=True)],
        unit="x",
        statistic=median,
        meaning="Time to claim and give back one job, by the length of the queue behind it.",
    )


def _claim_seconds(store: JobStore, backlog: int) -> list[float]:
    for _ in progress(range(max(0, backlog - store.waiting(Lane.INTERACTIVE))), f"a backlog of {backlog:,}"):
        store.submit(_submission())

    def take_and_release() -> None:
        for claim in store.claim(1, claim_id=secrets.token_hex(8)):
            store.release(claim)

    return [seconds(take_and_release) for _ in range(50)]


def _pixel() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


_PIXEL = _pixel()
