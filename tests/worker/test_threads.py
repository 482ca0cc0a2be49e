"""Work side by side: all of it, in order, on as many threads as are given, and never at a standstill."""

from __future__ import annotations

import os
import threading

import pytest

from worker.engine.threads import side_by_side


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_answers_come_in_the_order_of_the_items(threads: int) -> None:
    assert side_by_side(lambda number: number * number, range(100), threads=threads) == [n * n for n in range(100)]
    assert side_by_side(lambda number: number, [], threads=threads) == []


def test_so_many_threads_are_at_work_at_a_time_and_one_of_them_is_the_callers() -> None:
    together = threading.Barrier(2)

    def meet(number: int) -> int:
        together.wait(timeout=5)
        return threading.get_ident()

    met = side_by_side(meet, range(4), threads=2)
    assert len(set(met)) == 2 and threading.get_ident() in met


def test_one_thread_is_the_callers_alone() -> None:
    assert side_by_side(lambda number: threading.get_ident(), range(3), threads=1) == [threading.get_ident()] * 3


@pytest.mark.parametrize("threads", [1, 2])
def test_what_goes_wrong_is_raised(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda number: 1 // number, [3, 2, 1, 0], threads=threads)


def test_work_that_asks_for_threads_itself_comes_to_its_end() -> None:
    many = (os.cpu_count() or 1) + 2

    def inner(number: int) -> int:
        return sum(side_by_side(lambda one: one + number, range(10), threads=many))

    assert side_by_side(inner, range(20), threads=many) == [45 + 10 * number for number in range(20)]
