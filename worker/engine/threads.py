"""Work on many pictures that leaves the interpreter free, such as decoding and resizing, done on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T], *, threads: int) -> list[R]:
    """What `work` makes of each item, in their order, on so many threads of which this is one."""
    found: dict[int, R] = {}
    places = iter(range(len(items)))  # which all threads take from, so that none idles while another has much to do

    def take() -> None:
        for place in places:
            found[place] = work(items[place])

    others = [_pool().submit(take) for _ in range(min(threads, len(items)) - 1)]
    take()
    for other in others:
        if not other.cancel():  # one that has not begun finds nothing left to do
            other.result()
    return [found[place] for place in range(len(items))]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="side-by-side")
