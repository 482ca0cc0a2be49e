"""Whatever is sent as a picture gets a documented answer, in bounded time and memory, and no process dies of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.faults.bad_input.bombs import BOMBS
from tests.faults.bad_input.mutations import MUTATIONS, mutants
from tests.faults.bad_input.pool import DOCUMENTED, Decoder, Verdict, verdicts
from tests.faults.bad_input.seeds import seeds

COUNT = 500  # of mutants; `make faults` takes 10,000


@pytest.fixture(scope="module")
def judged() -> list[Verdict]:
    return verdicts(mutants(seeds(), count=COUNT, seed=0))


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


def test_every_damaged_picture_gets_a_documented_answer_within_bounds(judged: list[Verdict]) -> None:
    assert len(judged) == COUNT
    assert [one for one in judged if one.faults] == []


def test_the_mutations_reach_every_answer_and_some_only_break_in_the_pixels(judged: list[Verdict]) -> None:
    assert {one.header for one in judged} == DOCUMENTED
    assert {one.name for one in judged} == set(MUTATIONS)
    late = Counter(one.pixels for one in judged if one.header == "taken")
    assert late["taken"] > COUNT / 10 and late["invalid_image"] > COUNT / 20


@pytest.mark.parametrize("name", BOMBS)
def test_a_costly_file_is_refused_or_decoded_within_bounds(name: str, decoder: Decoder) -> None:
    verdict = decoder(name, BOMBS[name]())
    assert verdict.faults == [], verdict
    assert verdict.header_seconds < 1


def test_the_pool_notices_what_should_not_be() -> None:
    slow = Verdict("a", "taken", "taken", 0.1, 9.0, 2 << 30)
    assert slow.faults == ["9.0 s", "2147 MB"]
    assert Verdict("a", "undocumented KeyError: 1", "taken").faults == ["undocumented KeyError: 1"]
    assert Verdict("a", died="the process ended with -11").faults == ["the process ended with -11"]
