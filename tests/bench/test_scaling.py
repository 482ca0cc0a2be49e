"""The simulation of many workers against what queueing theory knows of simple cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import figures
from bench.figures import Figure
from bench.scaling import BATCHES, REDIS, Costs, main, p95, stays, workers_needed

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
    assert costs.ceiling == pytest.approx(900)
    assert workers_needed(costs, rate=1000, within=9, batch=8, seed=0) is None
    assert workers_needed(costs, rate=1, within=0.05, batch=8, seed=0) is None
    assert math.isinf(ALONE.ceiling)


def test_the_program_reads_the_bench_and_says_what_stands_in_the_way(tmp_path: Path) -> None:
    controls = {"engine, images/s": 20.0, "service, images/s": 18.0, REDIS: 2.0}
    figures.write([Figure(f"{BATCHES}a and b", 0.9, "x", controls=controls)], {}, tmp_path / "latest.json")
    command = ["--figures", str(tmp_path / "latest.json"), "--rates", "1,10,5000", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    found = {one["name"]: one for one in json.loads((tmp_path / "scaling.json").read_text())["figures"]}
    assert [one["value"] is None for one in found.values()] == [False, False, True, False]
    assert "one Redis takes 810 pictures a second" in found["scaling: workers for 5,000 pictures a second"]["reason"]


def test_figures_without_the_service_are_refused_with_the_remedy(tmp_path: Path) -> None:
    figures.write([], {}, tmp_path / "latest.json")
    result = CliRunner().invoke(main, ["--figures", str(tmp_path / "latest.json")])
    assert result.exit_code == 1 and "run: make bench" in result.output
