"""Other runtimes: those that are there and give our features are timed, of the others the reason is told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import Tensor

from bench import runtimes
from bench.speed.race import Runner


def absent(name: str, precision: str, inputs: Tensor) -> Runner:
    raise ModuleNotFoundError("No module named 'absent'")


def slow(name: str, precision: str, inputs: Tensor) -> Runner:
    own = runtimes.ours(name, precision, inputs)

    def run() -> object:
        time.sleep(0.5)
        return own()

    return run


def wrong(name: str, precision: str, inputs: Tensor) -> Runner:
    own = runtimes.ours(name, precision, inputs)
    return lambda: 2 * own()  # type: ignore[operator]


def test_a_runtime_is_timed_only_where_it_runs_and_gives_the_same_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtimes, "RUNTIMES", {"slow": slow, "absent": absent, "wrong": wrong})
    done = CliRunner().invoke(runtimes.main, ["--quick", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    timed, missing, other, *_ = json.loads((tmp_path / "runtimes.json").read_text("utf-8"))["figures"]
    assert 0 < timed["value"] < 0.5
    assert (missing["value"], missing["reason"]) == (None, "No module named 'absent'")
    assert other["value"] is None and "differ from ours by 1 of the largest" in other["reason"]
