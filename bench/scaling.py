"""How many workers a load needs, and what stands in the way next: a simulation with what `make bench` measured.

    python -m bench.scaling [--figures bench/out/latest.json] [--rates 10,1000] [--within 2] [--write-page]

Pictures arrive at random (Poisson), each as a job of its own. A free worker claims what waits, up to its batch, and
computes it in turn; before, each picture costs Redis, which does one thing at a time, its share, and the worker its
round trips to Redis. Workers and web servers can be multiplied; one Redis and one storage of blobs end at what they
take, and past that the load is divided among several services.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from bench import figures
from bench.figures import Figure
from bench.page import MEASUREMENTS, block, fill
from bench.speed.service import BLOBS, ENGINE, per_picture
from bench.speed.store import FAR, NEAR, REDIS, ROUND_TRIP_SECONDS
from shared.settings import REPOSITORY, Settings

OUT = REPOSITORY / "bench" / "out"
SINGLES = "service: single jobs through HTTP beside the engine, "
JOBS = 4000  # of one simulated run; the first tenth, which finds empty queues, does not count
LARGEST = 200  # workers that are simulated; above, the load alone decides
BUSY = 0.9  # the share of its time that anything may be busy where its queue is to stay short


@dataclass(frozen=True)
class Costs:
    """What one picture takes: seconds of a worker, of Redis, of which there is one, and of a web server's core; round
    trips of its worker to Redis; and bytes of blobs."""

    worker: float
    redis: float
    web: float = 0.0
    trips: float = 0.0
    blobs: float = 0.0

    @classmethod
    def read(cls, found: Sequence[Figure]) -> Costs:
        """From the figures of `make bench`. Raises ClickException where they lack the store's or the service's."""
        measured = {one.name: one for one in found if one.value is not None}
        services = [one.controls for name, one in measured.items() if name.startswith(SINGLES)]
        if not services or not {NEAR, FAR} <= measured.keys():
            raise click.ClickException("the figures lack those of the store or the service; run: make bench")
        near, far = (measured[name].value or math.inf for name in (NEAR, FAR))
        return cls(
            worker=1 / services[-1][ENGINE],
            redis=measured[NEAR].controls[REDIS] / 1000,
            web=services[-1][per_picture("web")] / 1000,
            trips=max(0.0, (1 / far - 1 / near) / ROUND_TRIP_SECONDS),
            blobs=services[-1][BLOBS] * 1000,
        )

    def away(self, round_trip: float) -> Costs:
        """With workers so many seconds away from Redis."""
        return Costs(self.worker + self.trips * round_trip, self.redis, self.web, self.trips, self.blobs)


@dataclass(frozen=True)
class Limit:
    """What cannot be multiplied within one service, and how many pictures a second it takes."""

    name: str
    rate: float

    @classmethod
    def of(cls, costs: Costs, *, storage: float) -> Limit:
        """The first to be met, with a storage of so many bytes a second."""
        redis = BUSY / costs.redis if costs.redis else math.inf
        blobs = BUSY * storage / costs.blobs if costs.blobs else math.inf
        return min((cls("Redis", redis), cls("the storage of blobs", blobs)), key=lambda limit: limit.rate)


def stays(costs: Costs, *, rate: float, workers: int, batch: int, seed: int, jobs: int = JOBS) -> list[float]:
    """Seconds from each picture's arrival to its end, in order of their ends, at `rate` pictures a second."""
    pauses = np.random.default_rng(seed).exponential(1 / rate, jobs)
    arrivals = deque(pauses.cumsum().tolist())
    free = [0.0] * workers  # when each worker has nothing left to do
    redis_free = 0.0
    found: list[float] = []
    while arrivals:
        begins = max(heapq.heappop(free), arrivals[0])
        claimed = [arrivals.popleft()]
        while arrivals and len(claimed) < batch and arrivals[0] <= begins:
            claimed.append(arrivals.popleft())
        redis_free = max(begins, redis_free) + len(claimed) * costs.redis
        ends = redis_free + len(claimed) * costs.worker
        found.extend(ends - arrived for arrived in claimed)
        heapq.heappush(free, ends)
    return found


def p95(seconds: Sequence[float]) -> float:
    counted = sorted(seconds[len(seconds) // 10 :])
    return counted[math.ceil(0.95 * len(counted)) - 1]


def workers_needed(costs: Costs, *, rate: float, within: float, batch: int, seed: int) -> int | None:
    """The fewest workers with which 95 of 100 pictures end within so many seconds; None where no number does."""
    fewest = max(1, math.ceil(rate * costs.worker))
    if rate * costs.redis >= 1 or within < costs.worker:
        return None
    if fewest > LARGEST:
        return math.ceil(rate * costs.worker / BUSY)
    for workers in range(fewest, 2 * fewest + 10):
        if p95(stays(costs, rate=rate, workers=workers, batch=batch, seed=seed)) <= within:
            return workers
    return None


def capacity(costs: Costs, *, rate: float, within: float, batch: int, storage: float, seed: int) -> Figure:
    """What a load needs, and what stands in the way."""
    name, limit = f"scaling: workers for {rate:,g} pictures a second", Limit.of(costs, storage=storage)
    services = max(1, math.ceil(rate / limit.rate))
    needed = workers_needed(costs, rate=rate / services, within=within, batch=batch, seed=seed)
    if needed is None:
        reason = f"a picture takes a worker {costs.worker:.2f} s: give it more or faster cores, or a GPU"
        return Figure(name, None, "workers", reason=reason)
    if services > 1:
        meaning = (
            f"One service ends at {limit.rate:,.0f} a second, which is what {limit.name} takes; "
            f"so {services:,} services, behind a proxy that sends an owner always to the same one."
        )
    else:
        first = "One worker is enough" if needed == 1 else "The workers' cores come first"
        meaning = f"{first}; {limit.name} stands in the way from {limit.rate:,.0f} a second."
    controls = {
        "services": services,
        "web cores": math.ceil(rate * costs.web / BUSY),
        "Redis busy, %": 100 * rate / services * costs.redis,
        "blobs, MB/s": rate * costs.blobs / 1e6,
    }
    return Figure(name, needed * services, "workers", n=JOBS, controls=controls, meaning=meaning)


def _rates(context: click.Context, parameter: click.Parameter, value: str) -> list[float]:
    try:
        rates = [float(part) for part in value.split(",")]
    except ValueError as error:
        raise click.BadParameter("give numbers, as in 1,10,100") from error
    if any(not 0 < rate < math.inf for rate in rates):
        raise click.BadParameter("a rate is above zero")
    return rates


@click.command(help=__doc__)
@click.option("--figures", "source", type=click.Path(exists=True, path_type=Path), default=OUT / "latest.json")
@click.option("--rates", callback=_rates, default="1,10,100,1000,100000", show_default=True, help="Pictures a second.")
@click.option("--within", type=float, default=2.0, show_default=True, help="Seconds in which 95 of 100 are to end.")
@click.option("--round-trip", type=float, default=0.5, show_default=True, help="From worker to Redis and back, ms.")
@click.option("--storage", type=float, default=1000.0, show_default=True, help="What the blobs' storage takes, MB/s.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The folder of scaling.json.")
@click.option("--write-page", is_flag=True, help="Write docs/measurements/capacity.md too.")
def main(
    source: Path, rates: list[float], within: float, round_trip: float, storage: float, out: Path, write_page: bool
) -> None:
    near = Costs.read(figures.read(source))
    costs, batch = near.away(round_trip / 1000), Settings().batch_size
    found = [capacity(costs, rate=rate, within=within, batch=batch, storage=storage * 1e6, seed=0) for rate in rates]
    context = json.loads(source.read_text("utf-8"))["context"]
    title = (
        f"95 of 100 within {within:g} s, where a picture takes {near.worker * 1000:.1f} ms of a worker and "
        f"{near.trips:.1f} round trips of {round_trip:g} ms, {near.redis * 1e6:.0f} µs of Redis, "
        f"{near.web * 1e3:.1f} ms of a web server's core, "
        f"and {near.blobs / 1000:.0f} kB of a storage that takes {storage:,.0f} MB/s"
    )
    Console().print(figures.table(found, title=title))
    for figure in found:
        name = figure.name.removeprefix("scaling: workers for ")
        Console().print(f"{name}: {figure.meaning or figure.reason}", soft_wrap=True)
    figures.write(found, context, out / "scaling.json")
    if write_page:
        text = "\n\n".join([title + ".", block(found, context)])
        fill(MEASUREMENTS / "capacity.md", writer="python -m bench.scaling", text=text)


if __name__ == "__main__":
    main()
