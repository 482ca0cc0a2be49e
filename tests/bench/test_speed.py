"""The speed rig: races are fair, the far Redis is far, and a quick run of each part gives its figures."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.speed.__main__ import PARTS, main
from bench.speed.delay import delayed
from bench.speed.race import percentile, race
from bench.speed.store import running_redis
from shared.store.job_store import JobStore


def test_runners_take_turns_and_each_round_begins_with_another() -> None:
    ran: list[str] = []
    race({name: lambda name=name: ran.append(name) for name in "abc"}, rounds=3, images=1, title="turns")  # type: ignore[misc]
    assert "".join(ran) == "abc" + "abc" + "bca" + "cab"


def test_a_runner_that_takes_half_the_time_is_twice_as_fast() -> None:
    found = race(
        {"quick": lambda: time.sleep(0.05), "slow": lambda: time.sleep(0.1)}, rounds=5, images=4, title="speed"
    )
    speed = found.speed("quick", beside="slow", figure="f", meaning="m", target=">= 1.5")
    assert speed.value == pytest.approx(2, rel=0.2)
    assert speed.met
    assert found.rate("slow", figure="f", meaning="m").value == pytest.approx(40, rel=0.2)


def test_a_percentile_is_the_value_below_which_so_many_samples_lie() -> None:
    import numpy as np

    assert percentile(99)(np.arange(101.0)) == 99


def test_a_delayed_redis_takes_longer_by_the_delay() -> None:
    with running_redis() as settings, delayed(settings.redis_socket, seconds=0.05) as port:
        far = JobStore.connect(type(settings)(home=settings.home, redis_url=f"redis://127.0.0.1:{port}/0"))
        far.ping()
        began = time.perf_counter()
        far.ping()
        assert 0.05 <= time.perf_counter() - began < 1


@pytest.mark.parametrize("part", ["limits", "engine", "store"])
@pytest.mark.slow
def test_a_quick_run_of_a_part_writes_its_figures(part: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--only", part, "--quick", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "latest.json").read_text("utf-8"))
    assert all(figure["value"] > 0 for figure in document["figures"])
    assert document["context"]["cores"] >= 1


def test_an_unknown_part_is_refused_with_those_there_are() -> None:
    done = CliRunner().invoke(main, ["--only", "everything"])
    assert done.exit_code == 2
    assert all(part in done.output for part in PARTS)
