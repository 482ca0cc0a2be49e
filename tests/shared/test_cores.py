"""Cores are counted as a container counts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.cores import usable_cores
from shared.settings import Settings

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", ALLOWED),
        ("100000 100000", 1),
        ("50000 100000", 1),
        (f"{100_000 * (ALLOWED + 3)} 100000", ALLOWED),
        ("no quota", ALLOWED),
    ],
)
def test_a_quota_takes_cores_away(quota: str, cores: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == cores


def test_without_a_quota_all_cores_count(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == ALLOWED


def test_a_worker_has_two_processes_where_it_has_two_cores() -> None:
    assert Settings().concurrency == min(2, usable_cores())
    assert Settings(concurrency=5).concurrency == 5
