"""The faults, by their row in the matrix. Each function strikes a rig that is at work and leaves it running."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
import redis

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.errors import StoreUnavailable
from shared.jobs import ImageRecord, JobOptions
from shared.store.job_store import Submission
from tests.faults.checker import WIPED
from tests.faults.client import BOUNDARY, JOBS
from tests.faults.history import DIE_ON_RECEIPT, Claimed, Finished, Submitted, now, of_kind
from tests.faults.pictures import Behaviour
from tests.faults.rig import Rig, alive, gone

STORE_ANSWER_SECONDS = 6.0  # within which a submit is refused while Redis is silent
DEADLY = (
    Behaviour.DIE_ANSWERING,
    Behaviour.DIE_BEFORE_BLOB,
    Behaviour.DIE_AFTER_BLOB,
    Behaviour.DIE_BEFORE_FINISH,
    Behaviour.DIE_AFTER_FINISH,
)


@dataclass(frozen=True)
class Size:
    """How many faults, among how many jobs."""

    faults: int
    jobs: int = 0


@dataclass(frozen=True)
class Row:
    """One row of the matrix. Rows with the same settings share a service."""

    number: int
    title: str
    run: Callable[[Rig, Size], None]
    short: Size
    full: Size
    settings: Mapping[str, object] = field(default_factory=dict)
    lossy: bool = False  # Redis is reached through a proxy that loses replies

    @property
    def group(self) -> Hashable:
        """What must be equal for two rows to share a service."""
        return (self.lossy, *sorted(self.settings.items()))


# -- processes die -------------------------------------------------------------------------------------------------


def killed_children(rig: Rig, size: Size) -> None:
    with _load(rig, 1, size, seconds_each=1.0) as wait:
        for _ in range(size.faults):
            wait()
            children = [pid for name in rig.workers() for pid in rig.children(name)]
            busy = [pid for pid in children if pid in _holders(rig)]
            if children:
                rig.kill(rig.random.choice(busy or children), 1, "child killed")


def killed_workers(rig: Rig, size: Size) -> None:
    with _load(rig, 2, size, seconds_each=3.0) as wait:
        for _ in range(size.faults):
            wait()
            rig.kill_worker(rig.random.choice(rig.workers()), 2, "worker killed")


def worker_stands_still(rig: Rig, size: Size) -> None:
    """Its event loop hangs, whatever the reason: it is ended and started again, while the others work."""
    for _ in range(size.faults):
        name = rig.random.choice(rig.workers())
        pid = rig.pid(name)
        os.kill(pid, signal.SIGUSR2)
        jobs = [rig.deliver(2) for _ in range(size.jobs)]
        _await_end(rig, jobs, seconds=60)
        rig.until(lambda: rig.pid(name) != pid, "the worker is started again", seconds=90)  # noqa: B023 - at once
        rig.strike(2, "worker stands still", proof=f"process {pid} ended" if gone(pid) else "", costs=True)
        rig.until(rig.is_ready, "the worker is back", seconds=60)


def lost_messages(rig: Rig, size: Size) -> None:
    for _ in range(size.faults):
        trap = rig.folder / DIE_ON_RECEIPT
        trap.touch()
        rig.deliver(3)
        rig.until(lambda: not trap.exists(), "a worker takes a message", seconds=60)  # noqa: B023 - at once
        rig.until(rig.is_ready, "the worker is back", seconds=60)


def crash_points(rig: Rig, size: Size) -> None:
    """`size.faults` deaths at each point."""
    with rig.load(4, [rig.picture(ticks=1) for _ in range(size.jobs)], per_second=20):
        for _ in range(size.faults):
            for behaviour in DEADLY:
                rig.deliver(4, behaviour)
                time.sleep(rig.random.uniform(0, 1))


def poison(rig: Rig, size: Size) -> None:
    """It fails after as many executions as there are attempts, and its neighbours succeed."""
    for _ in range(size.faults):
        sound = [rig.deliver(5)]
        deadly = [rig.deliver(5, kind, ends=("worker_lost",)) for kind in (Behaviour.EXIT, Behaviour.SEGFAULT)]
        sound.append(rig.deliver(5))
        _await_end(rig, [*sound, *deadly], seconds=90)
        for job in deadly:
            executions = [e for e in of_kind(rig.events(), Claimed) if e.job == job]
            assert len(executions) == rig.settings.max_attempts, f"{len(executions)} executions of a poison job"


# -- work goes wrong -----------------------------------------------------------------------------------------------


def out_of_memory(rig: Rig, size: Size) -> None:
    """The processes that met a MemoryError live on."""
    jobs = [rig.deliver(6, Behaviour.OUT_OF_MEMORY, ends=("out_of_memory",)) for _ in range(size.faults)]
    _await_end(rig, [*jobs, rig.deliver(6, ticks=25)], seconds=60)  # half a second, in which a process could end late
    struck = {e.pid for e in of_kind(rig.events(), Claimed) if e.job in jobs}
    assert struck and all(map(alive, struck)), "a MemoryError cost a worker"


def hangs(rig: Rig, size: Size) -> None:
    limit = rig.settings.soft_time_limit_seconds
    for _ in range(size.faults):
        job = rig.deliver(7, Behaviour.HANG, ends=("timeout",))
        began = time.monotonic()
        _await_end(rig, [job], seconds=3 * limit)
        took = time.monotonic() - began
        assert took <= limit + 5, f"a hanging job ended after {took:.1f} s, with a limit of {limit} s"
    job = rig.deliver(7, Behaviour.HANG_HOLDING_GIL, ends=("worker_lost",))
    _await_end(rig, [job, rig.deliver(7)], seconds=rig.settings.max_attempts * (rig.settings.time_limit_seconds + 8))


def long_jobs(rig: Rig, size: Size) -> None:
    """Longer than a lease. Renewal keeps it: one execution each."""
    ticks = round(1.4 * rig.settings.lease_seconds / 0.02)
    jobs = [rig.deliver(8, ticks=ticks) for _ in range(size.faults)]
    _await_end(rig, jobs, seconds=60)

    def ends(job: str) -> list[Finished]:
        return [e for e in of_kind(rig.events(), Finished) if e.job == job and e.applied]

    # A worker writes an end down after it has told the store, whose word a client may hear earlier.
    with suppress(AssertionError):  # a job that was lost has no such end, which is for the checker to say
        rig.until(lambda: all(map(ends, jobs)), "every end is written down", seconds=5)
    for job in jobs:
        claims = [e for e in of_kind(rig.events(), Claimed) if e.job == job]
        seconds = ends(job)[-1].at - claims[-1].at if ends(job) else 0.0
        proof = f"it ran {seconds:.1f} s" if seconds > rig.settings.lease_seconds else ""
        rig.strike(8, "job longer than its lease", proof=proof, costs=False)


def zombies(rig: Rig, size: Size) -> None:
    """A stopped process wakes up when its job is somebody else's: its late end must not count."""
    for _ in range(size.faults):
        job = rig.deliver(9, ticks=60)
        rig.until(lambda: rig.running(job) > 0, "the job runs", seconds=60)  # noqa: B023 - at once
        pid, at = rig.running(job), now()
        os.kill(pid, signal.SIGSTOP)
        try:
            rig.until(
                lambda: any(e.pid != pid and e.job == job for e in of_kind(rig.events(), Claimed)),  # noqa: B023
                "another worker takes the job of a stopped one",
                seconds=3 * rig.settings.lease_seconds + 10,
            )
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        rig.strike(9, "zombie", proof=f"process {pid} was stopped at {at:.1f} while its job was claimed again")
        time.sleep(2.0)  # for the one that woke up to come to the end of its work


# -- Redis ---------------------------------------------------------------------------------------------------------


def redis_restarts(rig: Rig, size: Size) -> None:
    with _load(rig, 10, size, seconds_each=3.0) as wait:
        for i in range(size.faults):
            wait()
            number, how = ((signal.SIGKILL, "killed"), (signal.SIGTERM, "shut down"))[i % 2]
            rig.kill(rig.pid("redis"), 10, f"Redis {how}", number=number)
            rig.until(lambda: _answers(rig), "Redis is back", seconds=60)


def data_lost(rig: Rig, size: Size) -> None:
    """As FLUSHALL, which the server's own rules deny to everybody."""
    for _ in range(size.faults):
        old = [rig.deliver(11) for _ in range(3)]
        _await_end(rig, old, seconds=30)
        with rig.raw() as raw:
            while keys := list(raw.scan_iter(count=1000)):
                raw.delete(*keys)
            rig.strike(11, WIPED, proof="no key was left")
        with rig.client() as client:
            assert {client.poll(job).http for job in old} == {404}
        _await_end(rig, [rig.deliver(11) for _ in range(3)], seconds=30)


def redis_stalled(rig: Rig, size: Size) -> None:
    for _ in range(size.faults):
        jobs = [rig.deliver(12, ticks=10) for _ in range(10)]
        pid = rig.pid("redis")
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(0.2)
            stopped = psutil.Process(pid).status() == psutil.STATUS_STOPPED
            rig.strike(12, "Redis stalled", proof="its process was stopped" if stopped else "")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: _refused(rig, 12), range(4)))
        finally:
            os.kill(pid, signal.SIGCONT)
        began = time.monotonic()
        _await_end(rig, [*jobs, rig.deliver(12)], seconds=60)
        assert time.monotonic() - began < 60


def redis_full(rig: Rig, size: Size) -> None:
    """What was accepted is run and ends, and nothing new is taken until there is room again."""
    for _ in range(size.faults):
        running = _both_running(rig, 13, ticks=50)
        waiting = [rig.deliver(13, ticks=10) for _ in range(size.jobs)]
        with _kept_full(rig):
            _refused(rig, 13)
            rig.strike(13, "Redis full", proof="the server refused a write for want of memory", costs=False)
            rig.kill_worker(rig.random.choice(rig.workers()), 13, "worker killed while Redis is full")
            _await_end(rig, [*running, *waiting], seconds=90)
            _refused(rig, 13)
        _await_end(rig, [rig.deliver(13)], seconds=30)


def dropped_replies(rig: Rig, size: Size) -> None:
    assert rig.proxy is not None
    before = rig.proxy.dropped
    rig.proxy.on = True
    try:
        with rig.load(20, [rig.picture(ticks=1) for _ in range(size.jobs)], per_second=30):
            pass
    finally:
        rig.proxy.on = False
    dropped = rig.proxy.dropped - before
    proof = f"the proxy dropped {dropped} replies" if dropped >= size.faults else ""
    rig.strike(20, "replies of Redis dropped", proof=proof)


# -- disk ----------------------------------------------------------------------------------------------------------


def disk_full(rig: Rig, size: Size) -> None:
    """The kernel refuses to let files of a process grow, as a full disk does."""
    for _ in range(size.faults):
        job = rig.deliver(14, ticks=50, ends=("storage",))
        rig.until(lambda: rig.running(job) > 0, "the job runs", seconds=60)  # noqa: B023 - at once
        with _no_room(rig.running(job)):
            _await_end(rig, [job], seconds=30)
        rig.strike(14, "disk full for a worker", proof="a result was not written", costs=False)
        with _no_room(*rig.children("web")), rig.client() as client:
            sent = client.submit(rig.picture(), row=14)
            assert (sent.http, sent.code) == (503, "storage"), sent
        rig.strike(14, "web server's disk full", proof="an upload was refused with code storage", costs=False)
        assert not list(rig.settings.blobs.glob("??/.partial-*")), "a half file was left"
        _await_end(rig, [rig.deliver(14)], seconds=30)


# -- messages and clients ------------------------------------------------------------------------------------------


def doorbells(rig: Rig, size: Size) -> None:
    """Jobs that nobody rang for start within two looks of the keeper; ten rings for each do no harm."""
    for _ in range(size.faults):
        job = _submit_silently(rig)
        began = time.monotonic()
        _await_end(rig, [job], seconds=30)
        took = time.monotonic() - began
        proof = "nobody rang"
        rig.strike(15, "doorbell lost", proof=proof, costs=False)
        assert took <= 2 * rig.settings.reap_seconds + 2, f"a job without a doorbell took {took:.1f} s"
    bell = Bell(make_celery(rig.settings))
    jobs = []
    for _ in range(10):
        for _ in range(10):
            bell.ring()
        jobs.append(rig.deliver(15, ticks=2))
    rig.strike(15, "tenfold doorbells", proof="100 more rings than jobs were sent", costs=False)
    _await_end(rig, jobs, seconds=60)


def one_key(rig: Rig, size: Size) -> None:
    """A hundred clients send the same job at once."""
    for i in range(size.faults):
        picture, key = rig.picture(), f"same-{i}"
        gate = threading.Barrier(100)

        def send(_: int) -> Submitted:
            with rig.client() as client:
                gate.wait(30)  # noqa: B023 - of this round
                return client.submit(picture, row=16, key=key)  # noqa: B023

        with ThreadPoolExecutor(100) as pool:
            sent = list(pool.map(send, range(100)))
        assert {one.http for one in sent} == {202} and len({one.job for one in sent}) == 1, sent[:3]
        with rig.client() as client:
            assert client.submit(rig.picture(), row=16, key=key).http == 409
        rig.strike(16, "one key, 100 clients at once", proof="100 answers", costs=False)


def rolling_restarts(rig: Rig, size: Size) -> None:
    """A worker that is asked to end gives its work back: nobody is charged an attempt."""
    with _load(rig, 17, size, seconds_each=5.0) as wait:
        for i in range(size.faults):
            wait()
            rig.until(rig.is_ready, "the last one is back", seconds=60)
            pid = rig.pid(rig.workers()[i % len(rig.workers())])
            os.kill(pid, signal.SIGTERM)
            proof = f"process {pid} ended" if gone(pid) else ""
            rig.strike(17, "worker restarted", proof=proof, costs=False)


def web_restarts(rig: Rig, size: Size) -> None:
    with _load(rig, 17, size, seconds_each=3.0) as wait:
        for i in range(size.faults):
            wait()
            pid = rig.pid("web")
            rig.strike(17, "web server restarted", proof=f"process {pid} ended", costs=False)
            os.killpg(pid, (signal.SIGTERM, signal.SIGKILL)[i % 2])
            assert gone(pid)
            rig.until(rig.is_ready, "the web server is back", seconds=60)


def cancel_races(rig: Rig, size: Size) -> None:
    """Jobs are cancelled while they wait, while they run and as they end. The first to come wins, for good."""
    pictures = [rig.picture(ticks=rig.random.randrange(0, 6)) for _ in range(size.jobs)]
    pauses = [rig.random.uniform(0, 0.2) for _ in range(97)]

    def race(number: int) -> int:
        wins = 0
        with rig.client() as client, rig.client() as other:
            for picture in pictures[number::4]:
                key = f"key-{picture.number}"
                job = client.deliver(picture, row=18, key=key, ends=("succeeded", "cancelled"))
                time.sleep(pauses[picture.number % len(pauses)])
                wins += other.cancel(job) == 200
        return wins

    with ThreadPoolExecutor(4) as pool:
        taken = sum(pool.map(race, range(4)))
    rig.strike(18, "cancelled at any time", proof=f"{taken} cancels were taken" if taken else "", costs=False)


def slow_clients(rig: Rig, size: Size) -> None:
    """Many clients that send a byte now and then, and uploads broken off in the middle, while others work."""
    alone = _submit_times(rig, 40)
    with _tricklers(rig.settings.port, size.faults) as sent:
        time.sleep(1.0)
        crowded = _submit_times(rig, 40)
        proof = f"{sent()} bytes trickled from {size.faults} sockets" if sent() else ""
    rig.strike(22, "slow clients", proof=proof, costs=False)
    bound = 2 * _p95(alone) + 0.1
    assert _p95(crowded) < bound, (
        f"p95 of a submit: {_p95(alone):.3f} s alone, {_p95(crowded):.3f} s among slow clients"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", rig.settings.port), timeout=10) as one:
            one.sendall(_head(100_000) + b"half")
    rig.strike(22, "uploads broken off", proof="20 connections were closed in the middle of a body", costs=False)
    _await_end(rig, [rig.deliver(22)], seconds=30)


ROWS = (
    Row(1, "child killed", killed_children, Size(3, 60), Size(60, 3000)),
    Row(2, "worker killed", killed_workers, Size(1, 60), Size(20, 2500)),
    Row(3, "message lost on receipt", lost_messages, Size(1), Size(5)),
    Row(4, "death around blob and end", crash_points, Size(1, 20), Size(6, 300)),
    Row(5, "poison", poison, Size(1), Size(3)),
    Row(6, "out of memory", out_of_memory, Size(3), Size(10)),
    Row(7, "hang", hangs, Size(1), Size(3)),
    Row(8, "longer than the lease", long_jobs, Size(1), Size(5)),
    Row(9, "zombie", zombies, Size(1), Size(8)),
    Row(10, "Redis restarted", redis_restarts, Size(2, 40), Size(20, 2500)),
    Row(12, "Redis stalled", redis_stalled, Size(1), Size(3)),
    Row(14, "disk full", disk_full, Size(1), Size(3)),
    Row(15, "doorbells lost and tenfold", doorbells, Size(1), Size(5)),
    Row(16, "one key, 100 clients", one_key, Size(1), Size(3)),
    Row(17, "workers restarted", rolling_restarts, Size(1, 20), Size(12, 1500)),
    Row(17, "web server restarted", web_restarts, Size(1, 20), Size(4, 300)),
    Row(18, "cancel races", cancel_races, Size(1, 40), Size(1, 400)),
    Row(22, "slow clients, broken uploads", slow_clients, Size(200), Size(200)),
    Row(13, "Redis full", redis_full, Size(1, 20), Size(2, 100), {"redis_memory_bytes": 32 * 1024 * 1024}),
    Row(11, "data lost", data_lost, Size(1), Size(2), {"redis_memory_bytes": 32 * 1024 * 1024}),
    Row(2, "worker stands still", worker_stands_still, Size(1, 4), Size(2, 20), {"heartbeat_seconds": 6.0}),
    Row(20, "replies dropped", dropped_replies, Size(5, 80), Size(100, 600), lossy=True),
)


# -- means ---------------------------------------------------------------------------------------------------------


@contextmanager
def _load(rig: Rig, row: int, size: Size, *, seconds_each: float) -> Iterator[Callable[[], None]]:
    """A load that lasts as long as the faults. What it yields waits for the moment of the next one."""
    pictures = [rig.picture(ticks=rig.random.randrange(0, 3)) for _ in range(size.jobs)]
    with rig.load(row, pictures, per_second=size.jobs / (size.faults * seconds_each)):
        yield lambda: time.sleep(rig.random.uniform(0.5, 1.5) * seconds_each)


def _holders(rig: Rig) -> set[int]:
    """Processes that hold a job now."""
    events = rig.events()
    ended = {(e.job, e.fence) for e in of_kind(events, Finished)}
    return {e.pid for e in of_kind(events, Claimed) if (e.job, e.fence) not in ended}


def _both_running(rig: Rig, row: int, *, ticks: int) -> list[str]:
    """Two jobs that run at the same time. Where a worker comes so late that one has ended, two others are sent."""
    for _ in range(5):
        jobs = [rig.deliver(row, ticks=ticks) for _ in range(2)]
        while not all(rig.store.get(job).status.is_terminal for job in jobs):
            if all(rig.running(job) for job in jobs):
                return jobs
            time.sleep(0.02)
    raise AssertionError("two workers were never at work at the same time")


def _await_end(rig: Rig, jobs: list[str], *, seconds: float) -> None:
    def ended() -> bool:
        with suppress(StoreUnavailable):
            return all(rig.store.get(job).status.is_terminal for job in jobs)
        return False

    rig.until(ended, f"jobs {jobs} have ended", seconds=seconds)


def _answers(rig: Rig) -> bool:
    with suppress(StoreUnavailable, redis.RedisError):
        rig.store.counts()
        return True
    return False


def _refused(rig: Rig, row: int) -> None:
    """A submit that the service must refuse, in time."""
    with rig.client() as client:
        sent = client.submit(rig.picture(), row=row)
    assert sent.http == 503, sent
    assert sent.seconds < STORE_ANSWER_SECONDS, f"a submit was refused only after {sent.seconds:.1f} s"


@contextmanager
def _kept_full(rig: Rig) -> Iterator[None]:
    """The server's memory is used up to the last byte meanwhile, whatever becomes free."""
    done = threading.Event()
    with rig.raw() as raw:
        _fill(raw)
        with ThreadPoolExecutor(1) as threads:
            keeping = threads.submit(_keep_full, raw, done)
            try:
                yield
            finally:
                done.set()
                keeping.result()
                raw.delete(*raw.scan_iter("filler:*", count=1000))


def _keep_full(raw: redis.Redis, done: threading.Event) -> None:
    while not done.wait(0.05):
        _fill(raw)


def _fill(raw: redis.Redis) -> None:
    """Use up the server's memory to the last byte."""
    block = 1 << 20
    while block >= 16:
        try:
            raw.set(f"filler:{secrets.token_hex(4)}", "x" * block)
        except redis.OutOfMemoryError:
            block //= 2


@contextmanager
def _no_room(*pids: int) -> Iterator[None]:
    """No file of these processes may grow beyond 10 bytes."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    try:
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (10, hard))
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def _submit_silently(rig: Rig) -> str:
    """Store a job as the web server does, without ringing."""
    picture = rig.picture()
    ref = BlobStore(rig.settings.blobs).put(picture.png())
    image = ImageRecord(ref, 8, 8, "PNG", "a.png")
    job = rig.store.submit(Submission(options=JobOptions(rig.settings.default_models), image=image))
    rig.recorder.add(Submitted(now(), 15, 202, 0.0, job=job, digest=picture.digest))
    return job


def _submit_times(rig: Rig, count: int) -> list[float]:
    with rig.client() as client:
        sent = []
        for _ in range(count):
            picture = rig.picture()
            sent.append(client.submit(picture, row=22, key=f"key-{picture.number}"))
            time.sleep(0.02)
    assert {one.http for one in sent} == {202}
    return [one.seconds for one in sent]


def _p95(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=20)[-1]


def _head(length: int) -> bytes:
    lines = [f"POST {JOBS} HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
    lines.append(f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def _tricklers(port: int, count: int) -> Iterator[Callable[[], int]]:
    """Half of them never end their header, the others never their body: a byte a second each."""
    stop, sent = threading.Event(), [0]
    connections = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]

    def trickle() -> None:
        for i, one in enumerate(connections):
            with suppress(OSError):
                one.sendall(_head(100_000) if i % 2 else b"POST /api/v1/jobs HTTP/1.1\r\nX-Slow: ")
        while not stop.wait(1.0):
            for one in connections:
                with suppress(OSError):
                    sent[0] += one.send(b"a")

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    try:
        yield lambda: sent[0]
    finally:
        stop.set()
        thread.join()
        for one in connections:
            one.close()
