"""How many workers a load needs, and what stands in the way next: a simulation with the service times of `make bench`.

    python -m bench.scaling [--figures bench/out/latest.json] [--rates 1,10,100] [--within 2] [--write-page]

Pictures arrive at random (Poisson). A free worker claims what waits, up to its batch, and computes it in turn; before,
each picture costs Redis, which does one thing at a time, its share. The times are those of the figures file: computing
takes what the engine takes, and Redis its share of the service's processor time.
"""

from __future__ import annotations

import heapq
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
from bench.page import page
from shared.settings import REPOSITORY, Settings

OUT = REPOSITORY / "bench" / "out"
BATCHES = "service: a batch through HTTP beside the engine, "
REDIS = "redis, % of the service's processor time"
JOBS = 4000  # of one simulated run; the first tenth, which finds empty queues, does not count
LARGEST = 200  # workers that are simulated; above, the load alone decides
BUSY = 0.9  # the share of its time that anything may be busy where its queue is to stay short
INTRODUCTION = """\
# How many workers a load needs

Written by `python -m bench.scaling --write-page` from the figures of `make bench`: a simulation, not a measurement of
so many machines. A worker has the cores of the machine that was measured.
"""


@dataclass(frozen=True)
class Costs:
    """Seconds that one picture takes of one worker, and of Redis, of which there is one."""

    worker: float
    redis: float

    @classmethod
    def read(cls, found: Sequence[Figure]) -> Costs:
        """From the figures of `make bench`. Raises ClickException where they lack the service's."""
        measured = [one for one in found if one.name.startswith(BATCHES) and one.value is not None]
        if not measured:
            raise click.ClickException("the figures lack those of the service; run: make bench")
        controls = measured[-1].controls
        service = controls["service, images/s"]
        return cls(worker=1 / controls["engine, images/s"], redis=controls[REDIS] / 100 / service)

    @property
    def ceiling(self) -> float:
        """Pictures a second that one Redis can take."""
        return BUSY / self.redis if self.redis else math.inf


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
    if rate > costs.ceiling or within < costs.worker:
        return None
    if fewest > LARGEST:
        return math.ceil(rate * costs.worker / BUSY)
    for workers in range(fewest, 2 * fewest + 10):
        if p95(stays(costs, rate=rate, workers=workers, batch=batch, seed=seed)) <= within:
            return workers
    return None


def measure(costs: Costs, *, rates: Sequence[float], within: float, batch: int, seed: int) -> list[Figure]:
    found = []
    for rate in rates:
        name, meaning = f"scaling: workers for {rate:,g} pictures a second", f"95 of 100 within {within:g} s"
        needed = workers_needed(costs, rate=rate, within=within, batch=batch, seed=seed)
        if needed is not None:
            found.append(Figure(name, needed, "workers", n=JOBS, meaning=meaning))
            continue
        reason = (
            f"one Redis takes {costs.ceiling:,.0f} pictures a second: divide owners or models among several services"
            if rate > costs.ceiling
            else f"a picture takes a worker {costs.worker:.2f} s: give it more or faster cores, or a GPU"
        )
        found.append(Figure(name, None, "workers", meaning=meaning, reason=reason))
    limit = (
        Figure("scaling: pictures a second that one Redis takes", costs.ceiling, "pictures/s") if costs.redis else None
    )
    return [*found, *([limit] if limit else [])]


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
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The folder of scaling.json.")
@click.option("--write-page", is_flag=True, help="Write docs/capacity.md too.")
def main(source: Path, rates: list[float], within: float, out: Path, write_page: bool) -> None:
    costs = Costs.read(figures.read(source))
    found = measure(costs, rates=rates, within=within, batch=Settings().batch_size, seed=0)
    machine = figures.machine(seed=0)
    title = f"A picture takes {costs.worker * 1000:.1f} ms of a worker and {costs.redis * 1e6:.0f} µs of Redis"
    Console().print(figures.table(found, title=title))
    figures.write(found, machine, out / "scaling.json")
    if write_page:
        (REPOSITORY / "docs" / "capacity.md").write_text(page(INTRODUCTION, {title: found}, machine), "utf-8")


if __name__ == "__main__":
    main()
