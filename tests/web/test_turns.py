"""Turns and single flight: who works, who waits, who is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import TooManyRequests
from tests.conftest import wait_for
from web.http.problems import Busy
from web.http.single_flight import SingleFlight
from web.http.turns import Turns, share_of


def turns(
    *,
    at_once: int,
    of_one: int = 100,
    patience: float = 0.0,
    working_of_one: int | None = None,
    beside_others: int | None = None,
) -> Turns:
    return Turns(
        "things",
        at_once=at_once,
        of_one=of_one,
        patience=patience,
        working_of_one=working_of_one,
        beside_others=beside_others,
        busy=lambda: Busy("all are taken"),
    )


def test_past_its_share_a_caller_is_refused_and_others_are_not() -> None:
    some = turns(at_once=10, of_one=2)
    some.take("a")
    some.take("a")
    with pytest.raises(TooManyRequests, match="2 things are yours already"):
        some.take("a")
    some.take("b")
    some.give_back("a")
    some.take("a")


def test_where_all_places_are_taken_nobody_waits_longer_than_its_patience() -> None:
    some = turns(at_once=1, patience=0.2)
    some.take("a")
    began = time.monotonic()
    with pytest.raises(Busy, match="all are taken"):
        some.take("b")
    assert 0.15 < time.monotonic() - began < 5
    some.give_back("a")
    some.take("b")


def test_while_others_come_too_fewer_of_one_callers_work(monkeypatch: pytest.MonkeyPatch) -> None:
    some = turns(at_once=10, working_of_one=3, beside_others=1, patience=0.05)
    for _ in range(3):
        some.take("a")
    with pytest.raises(Busy):
        some.take("a")
    some.take("b")
    some.give_back("a")
    with pytest.raises(Busy):  # two of its work
        some.take("a")
    monkeypatch.setattr("web.http.turns.COMPANY_SECONDS", 0.01)
    time.sleep(1.1)  # since the other came
    some.take("a")


def test_who_was_refused_leaves_nothing_behind() -> None:
    some = turns(at_once=1, of_one=1)
    some.take("a")
    for _ in range(3):
        with pytest.raises(Busy):
            some.take("b")
    some.give_back("a")
    with some.taken("b"):
        """Its refusals do not count."""
    with some.taken("b"):
        """Nor does what has ended."""


def test_callers_who_wait_take_turns() -> None:
    some, order = turns(at_once=1, patience=30), []
    some.take("first")

    def work(caller: str) -> None:
        with some.taken(caller):
            order.append(caller)

    with ThreadPoolExecutor(8) as threads:
        for waiting, caller in enumerate("aaaab", 1):
            threads.submit(work, caller)
            wait_for(lambda n=waiting: sum(map(len, some._waiting.values())) == n, seconds=10)  # type: ignore[misc]
        some.give_back("first")
    assert order == ["a", "b", "a", "a", "a"]


def test_a_place_is_left_to_others_though_one_caller_has_more_to_do() -> None:
    some = turns(at_once=2, working_of_one=1)
    some.take("a")
    with pytest.raises(Busy):
        some.take("a")
    some.take("b")
    some.give_back("a")
    some.take("a")


def test_who_waits_for_its_own_work_lets_others_pass() -> None:
    some = turns(at_once=2, working_of_one=1, patience=30)
    some.take("a")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(some.take, "a")
        wait_for(lambda: bool(some._waiting), seconds=10)
        with some.taken("b"):
            assert not waiting.done()
        some.give_back("a")
        waiting.result(10)


def test_one_that_is_patient_is_not_refused() -> None:
    some = turns(at_once=1, of_one=1)
    some.take("a")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(some.take, "a", patient=True)
        wait_for(lambda: bool(some._waiting), seconds=10)
        time.sleep(0.1)
        some.give_back("a")
        waiting.result(10)


def test_a_place_is_given_back_where_the_work_breaks() -> None:
    some = turns(at_once=1)
    with pytest.raises(ZeroDivisionError), some.taken("a"):
        raise ZeroDivisionError
    some.take("b")


def test_what_many_ask_for_at_once_is_made_once() -> None:
    flights, made, begun = SingleFlight[int](), [], threading.Event()

    def make() -> int:
        made.append(1)
        begun.wait(10)
        return 7

    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(flights.get, "key", make) for _ in range(4)]
        wait_for(lambda: len(made) == 1 and flights.get("other", lambda: 1) == 1, seconds=10)
        time.sleep(0.2)
        begun.set()
        assert [one.result() for one in found] == [7] * 4
    assert len(made) == 1
    assert flights.get("key", lambda: 8) == 8, "nothing is kept"


def test_an_error_is_everybodys_and_the_next_one_tries_again() -> None:
    flights = SingleFlight[int]()

    def broken() -> int:
        raise ValueError("no")

    asks: list[Callable[[], int]] = [lambda: flights.get("key", broken)] * 2
    for ask in asks:
        with pytest.raises(ValueError, match="no"):
            ask()
    assert flights.get("key", lambda: 1) == 1


@pytest.mark.parametrize(("slots", "share"), [(64, 8), (12, 2), (4, 2), (1, 1)])
def test_a_caller_may_have_an_eighth_of_the_slots_but_two_at_least(slots: int, share: int) -> None:
    assert share_of(slots) == share
