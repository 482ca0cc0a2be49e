"""The checker itself: a history without a fault passes, and each broken invariant is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.checker import Rules, lost_to_faults, recovery_seconds, violations
from tests.faults.history import (
    Claimed,
    Event,
    Finished,
    Polled,
    Reader,
    Recorder,
    Rested,
    Struck,
    Submitted,
)

SENT = Submitted(1.0, 1, 202, 0.1, job="j", key="k", digest="d")
CLAIM = Claimed(1.1, "j", 1, 1, 100)
KILL = Struck(1.2, 1, "child killed", "pid 100 is gone", 100)
AGAIN = Claimed(4.2, "j", 3, 2, 200)
END = Finished(4.3, "j", 3, True, 200)
POLL = Polled(5.0, "j", 200, "succeeded", 2, "d", "", 4.3, "f")
REST = Rested(9.0, {"accepted": 1, "succeeded": 1}, {"running": 0})
GOOD: list[Event] = [SENT, CLAIM, KILL, AGAIN, END, POLL, replace(POLL, at=6.0), replace(POLL, at=7.0), REST]


def broken(events: list[Event]) -> set[str]:
    return {violation.invariant for violation in violations(events, Rules())}


def changed(old: Event, **values: object) -> list[Event]:
    """The good history with one event changed, wherever it stands."""
    return [replace(event, **values) if event == old else event for event in GOOD]  # type: ignore[arg-type]


def without(*kinds: type[Event]) -> list[Event]:
    return [event for event in GOOD if not isinstance(event, kinds)]


def test_a_job_that_survived_a_kill_breaks_nothing() -> None:
    assert violations(GOOD, Rules()) == []


@pytest.mark.parametrize(
    ("events", "invariant"),
    [
        pytest.param(without(Polled), "A", id="an accepted job is not known at the end"),
        pytest.param([*GOOD, replace(POLL, at=8.0, http=503, status="")], "A", id="its result cannot be read"),
        pytest.param([*GOOD, replace(POLL, at=8.0, http=404, status="")], "A", id="it vanished"),
        pytest.param(changed(REST, counts={"accepted": 2, "succeeded": 1}), "A", id="the books do not add up"),
        pytest.param(changed(REST, counts={"accepted": 2, "succeeded": 2}), "A", id="a job nobody sent"),
        pytest.param([*GOOD, replace(POLL, at=8.0, fingerprint="g")], "B", id="an end changed"),
        pytest.param([*GOOD, replace(POLL, at=8.0, status="running")], "B", id="an end was taken back"),
        pytest.param(GOOD[:-2], "B", id="an end was read too rarely"),
        pytest.param([*GOOD, replace(SENT, at=2.0, job="other")], "B", id="two jobs for one key"),
        pytest.param([*GOOD, replace(END, at=8.0, fence=1, pid=100)], "B", id="a zombie ended it again"),
        pytest.param([event for event in GOOD if event != KILL], "C", id="an attempt that no fault explains"),
        pytest.param([replace(e, attempts=4) if isinstance(e, Polled) else e for e in GOOD], "C", id="four attempts"),
        pytest.param([replace(e, digest="x") if isinstance(e, Polled) else e for e in GOOD], "D", id="a wrong answer"),
        pytest.param(
            [replace(e, status="failed", error="internal") if isinstance(e, Polled) else e for e in GOOD],
            "D",
            id="a failure that was not asked for",
        ),
        pytest.param([*GOOD, replace(SENT, http=500, job="")], "E", id="a server error"),
        pytest.param([*GOOD, replace(SENT, http=503, job="")], "E", id="a 503 of nobody knows what"),
        pytest.param([*GOOD, replace(SENT, http=0, job="")], "E", id="a request without an answer"),
        pytest.param(changed(REST, left={"running": 1}), "F", id="a lease is left"),
        pytest.param(changed(KILL, proof=""), "G", id="a fault that may not have happened"),
    ],
)
def test_a_broken_promise_is_named(events: list[Event], invariant: str) -> None:
    assert invariant in broken(events)


def test_a_web_server_that_was_killed_may_leave_a_request_without_an_answer() -> None:
    strike = Struck(2.0, 0, "web server killed", "pid 5 is gone", costs=False)
    assert broken([*GOOD, strike, replace(SENT, at=3.0, http=0, job="")]) == set()
    assert broken([*GOOD, strike, replace(SENT, at=99.0, http=0, job="")]) == {"E"}


def test_a_job_that_faults_met_on_every_attempt_may_fail_and_is_counted() -> None:
    kills = [replace(KILL, at=1.2 + i / 10) for i in range(3)]
    polls = [replace(POLL, at=5.0 + i, status="failed", error="worker_lost", attempts=3, digest="") for i in range(3)]
    events: list[Event] = [SENT, *kills, *polls]
    assert violations(events, Rules()) == []
    assert lost_to_faults(events, Rules()) == ["j"]
    assert lost_to_faults(GOOD, Rules()) == []


def test_recovery_runs_from_the_kill_until_another_worker_has_the_job() -> None:
    assert recovery_seconds(GOOD) == pytest.approx([3.0])
    finished = Finished(1.15, "j", 1, True, 100)
    assert recovery_seconds([SENT, CLAIM, finished, KILL, POLL]) == []


def test_what_is_recorded_can_be_read_again(tmp_path: Path, make_recorder: Callable[[str], Recorder]) -> None:
    first, second = make_recorder("a.jsonl"), make_recorder("b.jsonl")
    for i, event in enumerate(GOOD):
        (first if i % 2 else second).add(event)
    reader = Reader(tmp_path)
    assert reader.events() == sorted(GOOD, key=lambda event: event.at)
    first.add(REST)
    assert reader.events()[-2:] == [REST, REST]


@pytest.fixture
def make_recorder(tmp_path: Path) -> Callable[[str], Recorder]:
    return lambda name: Recorder(tmp_path / name)
