"""Other runtimes: those that are there and give our features are timed, of the others the reason is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import Tensor

from bench import runtimes
from bench.speed.race import Runner


def absent(name: str, precision: str, inputs: Tensor) -> Runner:
    raise ModuleNotFoundError("No module named 'absent'")


def wrong(name: str, precision: str, inputs: Tensor) -> Runner:
    own = runtimes.ours(name, precision, inputs)
    return lambda: 2 * own()  # type: ignore[operator]


def test_a_runtime_is_timed_only_where_it_runs_and_gives_the_same_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtimes, "RUNTIMES", {"twin": runtimes.ours, "absent": absent, "wrong": wrong})
    done = CliRunner().invoke(runtimes.main, ["--quick", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    twin, missing, other, *_ = json.loads((tmp_path / "runtimes.json").read_text("utf-8"))["figures"]
    assert twin["value"] > 0 and not twin.get("reason")  # how fast, on a busy machine, is nobody's to say
    assert (missing["value"], missing["reason"]) == (None, "No module named 'absent'")
    assert other["value"] is None and "differ from ours by 1 of the largest" in other["reason"]
