"""The simulation of many workers against what queueing theory knows of simple cases."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import figures
from bench.figures import Figure
from bench.scaling import SINGLES, Costs, Limit, capacity, main, p95, stays, workers_needed
from bench.speed.service import BLOBS, ENGINE, per_picture
from bench.speed.store import FAR, NEAR, REDIS

ALONE = Costs(worker=0.1, redis=0.0)


def test_pictures_that_never_meet_take_as_long_as_their_computing() -> None:
    assert stays(ALONE, rate=0.01, workers=1, batch=8, seed=0, jobs=50) == pytest.approx([0.1] * 50)


def test_one_worker_without_batches_waits_as_pollaczek_and_khinchine_say() -> None:
    load = 0.7
    found = stays(ALONE, rate=load / 0.1, workers=1, batch=1, seed=1, jobs=40_000)
    assert sum(found) / len(found) == pytest.approx(0.1 + load * 0.1 / (2 * (1 - load)), rel=0.05)


def test_more_workers_are_never_slower_and_too_few_fall_behind() -> None:
    ends = [p95(stays(ALONE, rate=25, workers=count, batch=8, seed=0)) for count in (2, 3, 4, 8)]
    assert ends == sorted(ends, reverse=True) and ends[0] > 10 > ends[1]


def test_the_number_of_workers_is_the_smallest_that_is_enough() -> None:
    needed = workers_needed(ALONE, rate=50, within=0.3, batch=8, seed=0)
    assert needed is not None and needed > 5, "five would be busy all of the time"
    for count, enough in ((needed, True), (needed - 1, False)):
        assert (p95(stays(ALONE, rate=50, workers=count, batch=8, seed=0)) <= 0.3) is enough


def test_no_number_of_workers_is_enough_past_what_one_redis_takes_or_below_one_pictures_time() -> None:
    costs = Costs(worker=0.1, redis=0.001)
    assert workers_needed(costs, rate=1000, within=9, batch=8, seed=0) is None
    assert workers_needed(costs, rate=1, within=0.05, batch=8, seed=0) is None


def test_the_first_limit_is_that_of_redis_or_of_the_storage() -> None:
    for blobs, name, rate in ((1000, "Redis", 900), (100_000, "the storage of blobs", 90)):
        limit = Limit.of(Costs(0.1, redis=0.001, blobs=blobs), storage=10e6)
        assert limit.name == name and limit.rate == pytest.approx(rate)
    assert math.isinf(Limit.of(ALONE, storage=1).rate)


def test_past_the_limit_the_load_is_divided_among_services() -> None:
    costs = Costs(worker=0.01, redis=0.001, web=0.002, blobs=50_000)
    one, many = (capacity(costs, rate=rate, within=1, batch=8, storage=1e9, seed=0) for rate in (800, 80_000))
    assert (one.controls["services"], many.controls["services"]) == (1, 89)
    assert one.meaning == "The workers' cores come first; Redis stands in the way from 900 a second."
    assert many.meaning.startswith("One service ends at 900 a second, which is what Redis takes; so 89 services,")
    assert one.controls["Redis busy, %"] == pytest.approx(80) and many.controls["Redis busy, %"] < 90
    assert one.value is not None and many.value is not None and 95 < many.value / one.value < 105
    assert many.controls["web cores"] == pytest.approx(80_000 * 0.002 / 0.9, abs=1)
    assert many.controls["blobs, MB/s"] == pytest.approx(4000)
    slow = capacity(costs, rate=1, within=0.001, batch=8, storage=1e9, seed=0)
    assert (
        slow.value is None and slow.reason == "a picture takes a worker 0.01 s: give it more or faster cores, or a GPU"
    )


def test_the_costs_are_those_that_the_bench_measured(tmp_path: Path) -> None:
    controls = {ENGINE: 20.0, per_picture("web"): 4.0, BLOBS: 60.0}
    rates = [Figure(NEAR, 2000.0, "jobs/s", controls={REDIS: 0.5}), Figure(FAR, 1000.0, "jobs/s")]
    measured = [*rates, Figure(f"{SINGLES}a and b", 0.9, "x", controls=controls)]
    costs = Costs.read(measured)
    assert astuple(costs) == pytest.approx((0.05, 0.0005, 0.004, 0.25, 60_000))
    assert costs.away(0.01).worker == pytest.approx(0.0525)
    figures.write(measured, {"cores": 2}, tmp_path / "latest.json")
    command = ["--figures", str(tmp_path / "latest.json"), "--rates", "10,100000", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0 and "100,000 pictures a second: One service ends at 1,800" in result.output
    document = json.loads((tmp_path / "scaling.json").read_text())
    assert [one["value"] is None for one in document["figures"]] == [False, False]
    assert document["context"] == {"cores": 2}, "of the machine that was measured"


@pytest.mark.parametrize("kept", [[], [Figure(NEAR, 2000.0), Figure(FAR, 1000.0)]])
def test_figures_without_the_store_or_the_service_are_refused_with_the_remedy(
    kept: list[Figure], tmp_path: Path
) -> None:
    figures.write(kept, {}, tmp_path / "latest.json")
    result = CliRunner().invoke(main, ["--figures", str(tmp_path / "latest.json")])
    assert result.exit_code == 1 and "run: make bench" in result.output
