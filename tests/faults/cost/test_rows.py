"""The verdict on a row, and what a page and the figures say of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.faults.cost.attacker import MeasuredAnswer
from tests.faults.cost.attacks import Attack
from tests.faults.cost.caller import Felt
from tests.faults.cost.rig import Ordinary, Row
from tests.faults.cost.run import Outcome, figures_of, table

ATTACK = Attack("an attack", ("api.submit_job",), frozenset({202}), lambda attacker, made: None, lambda attacker: None)
SOUND = Row(
    ATTACK, (MeasuredAnswer(202, 1000, 0.5), MeasuredAnswer(429, 10, 3.5)), 3.05, 10, 20, 30, Ordinary(0.02, 0.1), 2.0
)


def test_a_row_within_the_budget_has_no_fault() -> None:
    assert SOUND.faults == []
    assert "| an attack | 1.0 | 202, 429 | 3.50 | 3.05 |" in table([SOUND])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        pytest.param({"answers": (MeasuredAnswer(500, 1),)}, "the answer 500", id="an undocumented answer"),
        pytest.param({"answers": (MeasuredAnswer(0, 1),)}, "the answer 0", id="no answer"),
        pytest.param({"answers": ()}, "no request was made", id="no request"),
        pytest.param({"answers": (MeasuredAnswer(202, 1, 4.1),)}, "web server: 4.1 s", id="time of the web server"),
        pytest.param({"worker_seconds": 3.2}, "worker: 3.2 s", id="time of a worker"),
        pytest.param({"web_bytes": 601_000_000}, "web server: 601.0 MB", id="memory of the web server"),
        pytest.param({"decoder_bytes": 601_000_000}, "decoder: 601.0 MB", id="memory of a decoder"),
        pytest.param({"worker_bytes": 601_000_000}, "worker: 601.0 MB", id="memory of a worker"),
        pytest.param({"slower": 3.1}, "another caller's: 3.1 times as slow", id="another caller"),
        pytest.param({"broken": "not within 120 s"}, "broken off: not within 120 s", id="an attack without an end"),
        pytest.param({"refused": ("job: 503",)}, "another caller was refused: job: 503", id="a refused caller"),
    ],
)
def test_whatever_goes_over_the_budget_is_a_fault_and_it_alone(changes: dict[str, object], fault: str) -> None:
    row = replace(SOUND, **changes)  # type: ignore[arg-type]
    assert row.faults == [fault]
    assert {one.name: one.value for one in figures_of(Outcome([SOUND, row], {}))}["attacks over the budget"] == 1


def test_a_job_that_asks_for_computing_may_compute() -> None:
    assert replace(SOUND, worker_seconds=20.0, attack=replace(ATTACK, computing=60.0)).faults == []


def test_what_another_caller_felt_is_the_worst_kind_as_a_multiple_and_little_is_nothing() -> None:
    idle = Felt({"health": [0.001] * 20, "answer": [0.2] * 20})
    assert Felt({"health": [0.09] * 20, "answer": [0.2] * 20}).slowdown(idle) == pytest.approx(1)
    assert Felt({"health": [0.4] * 20, "answer": [0.6] * 20}).slowdown(idle) == pytest.approx(4)
    beside = SOUND.beside([MeasuredAnswer(202, 5), MeasuredAnswer(503, 5)], Felt({"health": [0.4]}, ["job: 503"]), idle)
    assert beside.faults == [
        "the answer 503",
        "another caller's health: 4.0 times as slow",
        "another caller was refused: job: 503",
    ]


def test_a_planted_fault_counts_as_found_where_its_attacks_and_no_others_find_it() -> None:
    right = {"any number of scans": {"JPEG of 2,000 scans, with MPF"}}
    for planted, count in ((right, 1), ({"any number of scans": set[str]()}, 0)):
        assert {one.name: one.value for one in figures_of(Outcome([SOUND], planted))}["planted faults found"] == count
