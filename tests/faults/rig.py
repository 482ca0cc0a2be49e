"""The rig: a whole service in a folder of its own, clients, and means to strike it. What happens is written down."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import psutil
import redis

from shared.blobs.blob_store import BlobStore
from shared.errors import StoreUnavailable
from shared.jobs import Lane
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import PREFIX, JobStore
from tests.faults.checker import READS, Rules, Violation, accepted, violations
from tests.faults.client import Client
from tests.faults.history import DEFECT, FOLDER, Claimed, Event, Finished, Reader, Recorder, Rested, Struck, now
from tests.faults.pictures import Behaviour, Marked
from tests.faults.proxy import LossyProxy
from tests.faults.service import WORKERS
from tests.flow.conftest import free_port
from worker.queue.keep import Keeper

START_SECONDS = 120.0
CLIENTS = 4
LEASE_SECONDS = 3.0
LOST_SHARE = 0.1  # of Redis's replies, behind the lossy proxy


def quick_settings(folder: Path) -> Settings:
    """Short leases and limits, so that recovery can be watched."""
    return Settings(
        home=folder / "home",
        port=free_port(),
        lease_seconds=LEASE_SECONDS,
        reap_seconds=1.0,
        soft_time_limit_seconds=7,
        time_limit_seconds=9,
        soft_shutdown_seconds=5.0,
        queue_limit=100_000,
    )


class Rig:
    """One service under test. `random` is seeded; every strike and every answer goes into the history."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        workers: int = 2,
        defect: str = "",
        lossy: bool = False,
        changes: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = replace(quick_settings(folder), **(changes or {}))  # type: ignore[arg-type]
        self.proxy = LossyProxy(self.settings.redis_socket, share=LOST_SHARE, seed=seed) if lossy else None
        self.random = random.Random(seed)
        self._reader = Reader(folder / "history")
        self.recorder = Recorder(folder / "history" / "rig.jsonl")
        self.store = JobStore.connect(replace(self.settings, redis_url=""))
        self.rules = Rules(max_attempts=self.settings.max_attempts)
        self._workers = workers
        self._defect = defect
        self._number = 0
        self._numbers = threading.Lock()
        self._settled: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    # -- the service -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Rig:
        if self.proxy:
            self.proxy.__enter__()
            self.settings = replace(self.settings, redis_url=f"redis://127.0.0.1:{self.proxy.port}/0")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PATHLIGHT_")},
            **self.settings.to_environment(),
            FOLDER: str(self.folder),
            WORKERS: str(self._workers),
            DEFECT: self._defect,
            "OMP_NUM_THREADS": "1",
        }
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "tests.faults.service"]
            self._process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        try:
            self.until(self.is_ready, "the service is ready", seconds=START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            finally:
                self._process.kill()
        if self.proxy:
            self.proxy.__exit__(None, None, None)

    def is_ready(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise AssertionError(f"the service ended: {(self.folder / 'log').read_text()[-3000:]}")
        with self.client() as client:
            return client.ready() and self.store.workers_heard() >= self._workers

    def pid(self, name: str) -> int:
        """Of `redis`, `web` or `worker-0`."""
        return int(json.loads((self.folder / "pids.json").read_text("utf-8"))[name])

    def workers(self) -> list[str]:
        return [f"worker-{number}" for number in range(self._workers)]

    def children(self, name: str) -> list[int]:
        """The living children of a process. None while it is down or just starting."""
        try:
            return [child.pid for child in psutil.Process(self.pid(name)).children() if alive(child.pid)]
        except psutil.NoSuchProcess:
            return []

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = Client(self.settings.port, self.recorder)
        try:
            yield client
        finally:
            client.close()

    def raw(self) -> redis.Redis:
        """A client beside the store, to look and to meddle."""
        return redis.Redis.from_url(replace(self.settings, redis_url="").store_url, decode_responses=True)

    # -- work --------------------------------------------------------------------------------------------------------

    def picture(self, behaviour: Behaviour = Behaviour.ANSWER, ticks: int = 0) -> Marked:
        with self._numbers:
            self._number += 1
            return Marked(self._number, behaviour, ticks)

    def deliver(
        self,
        row: int,
        behaviour: Behaviour = Behaviour.ANSWER,
        *,
        ticks: int = 0,
        ends: tuple[str, ...] = ("succeeded",),
    ) -> str:
        """Have one job accepted, and return its id."""
        picture = self.picture(behaviour, ticks)
        with self.client() as client:
            return client.deliver(picture, row=row, key=f"key-{picture.number}", ends=ends)

    @contextmanager
    def load(self, row: int, pictures: Sequence[Marked], *, per_second: float = 1e9) -> Iterator[Load]:
        """Deliver the pictures from several clients while the block runs; ends when all are accepted. Some jobs are
        read on the way."""
        load = Load(self, row, pictures, per_second)
        with ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(load.work, number) for number in range(CLIENTS)]
            try:
                yield load
            except BaseException:
                load.stop.set()
                raise
            for future in futures:
                future.result()

    # -- faults --------------------------------------------------------------------------------------------------------

    def strike(self, row: int, fault: str, *, proof: str, pid: int = 0, costs: bool = True) -> None:
        self.recorder.add(Struck(now(), row, fault, proof, pid, costs))

    def kill(self, pid: int, row: int, fault: str, *, group: bool = False, number: int = signal.SIGKILL) -> None:
        """Kill a process or its group, see it gone, and write it down. The strike's time is that of the signal."""
        at = now()
        try:
            (os.killpg if group else os.kill)(pid, number)
        except ProcessLookupError:
            return  # it has ended before, by another fault
        self.recorder.add(Struck(at, row, fault, f"process {pid} is gone" if gone(pid) else "", pid))

    def kill_worker(self, name: str, row: int, fault: str) -> None:
        """Kill a whole worker: its parent and the children, whose jobs are those to be recovered."""
        parent, children = self.pid(name), self.children(name)
        at = now()
        try:
            os.killpg(parent, signal.SIGKILL)
        except ProcessLookupError:
            return
        pids = [parent, *children]
        proof = f"processes {pids} are gone" if all(map(gone, pids)) else ""
        self.recorder.add(Struck(at, row, fault, proof, children[0] if children else parent))

    # -- the end -------------------------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        return self._reader.events()

    def settle(self, *, seconds: float = 60.0) -> list[Violation]:
        """Wait until everything has ended, read every job often enough, look at what is left, and check it all."""
        quiet = seconds + 2 * self.settings.lease_seconds + self.settings.time_limit_seconds
        with _patience():
            self.until(self._all_ended, "every job has ended", seconds=quiet)
        left = self._left()
        open_jobs = [job for job in accepted(self.events()) if job not in self._settled]
        for _ in range(READS):
            self._read(open_jobs)
        self._settled.update(open_jobs)
        self.recorder.add(Rested(now(), self.store.counts(), left))
        return violations(self.events(), self.rules)

    def until(self, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Wait. Raises AssertionError naming what did not come."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds:.0f} s: {what}")
            time.sleep(0.05)

    def running(self, job: str) -> int:
        """The process that holds a job, or 0."""
        claims = [e for e in self.events() if isinstance(e, Claimed) and e.job == job]
        ended = {(e.job, e.fence) for e in self.events() if isinstance(e, Finished)}
        return claims[-1].pid if claims and (job, claims[-1].fence) not in ended else 0

    def _all_ended(self) -> bool:
        try:
            counts = self.store.counts()
        except StoreUnavailable:
            return False
        return counts.get("queued", 0) == counts.get("running", 0) == 0

    def _left(self) -> dict[str, int]:
        """What should be nothing by now. Doorbells come and go with the keeper's clock: the least of several looks
        counts. A message that its worker lost is seen as lost after the visibility timeout of two leases, at a look
        that comes every 10 s and may itself fail once. Abandoned temporary files are removed by the product's own
        sweep, here without its hour of patience."""
        Keeper(self.store, BlobStore(self.settings.blobs), self.settings, ring=lambda: None).sweep(older_than=0)
        least = self._look()
        until = time.monotonic() + 2 * self.settings.lease_seconds + 25
        while any(least.values()) and time.monotonic() < until:
            time.sleep(0.1)
            least = {name: min(count, least[name]) for name, count in self._look().items()}
        return least

    def _look(self) -> dict[str, int]:
        with self.raw() as raw:
            lanes = {f"lane {lane}": cast(int, raw.zcard(f"{PREFIX}lane:{lane}")) for lane in Lane}
            return {
                **lanes,
                "running": cast(int, raw.zcard(f"{PREFIX}running")),
                "deadlines": cast(int, raw.zcard(f"{PREFIX}deadlines")),
                "doorbells": cast(int, raw.llen(f"{PREFIX}drain")),
                "unacked": cast(int, raw.hlen(f"{PREFIX}unacked")),
                "temporary files": len(list(self.settings.blobs.glob("??/.partial-*"))),
            }

    def _read(self, jobs: Sequence[str]) -> None:
        def some(number: int) -> None:
            with self.client() as client:
                for job in jobs[number::CLIENTS]:
                    client.poll(job)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(some, range(CLIENTS)))


class Load:
    """Pictures on their way to the service."""

    def __init__(self, rig: Rig, row: int, pictures: Sequence[Marked], per_second: float) -> None:
        self.stop = threading.Event()
        self.delivered = 0
        self._rig = rig
        self._row = row
        self._pictures = pictures
        self._pause = CLIENTS / per_second

    @property
    def done(self) -> bool:
        return self.delivered >= len(self._pictures) or self.stop.is_set()

    def work(self, number: int) -> None:
        """What one client does."""
        began = time.monotonic()
        with self._rig.client() as client:
            for i, picture in enumerate(self._pictures[number::CLIENTS]):
                if self.stop.wait(max(0.0, began + i * self._pause - time.monotonic())):
                    return
                job = client.deliver(picture, row=self._row, key=f"key-{picture.number}")
                self.delivered += 1
                if i % 4 == 0:
                    client.poll(job)


@contextmanager
def _patience() -> Iterator[None]:
    """What has not ended in time is for the checker to name."""
    with suppress(AssertionError):
        yield


def alive(pid: int) -> bool:
    """Whether a process lives. One that has ended and waits for its parent to look, which takes Celery up to 5 s, does
    not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(pid: int, *, seconds: float = 20.0) -> bool:
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        time.sleep(0.01)
    return False
