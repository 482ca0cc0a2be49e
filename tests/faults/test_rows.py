"""The short form of the fault rig: each row of the matrix strikes a real service once or a few times.

`make faults` is the full form. The history of a failed row lies in its folder, which the failure names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.history import Struck, of_kind
from tests.faults.pictures import Behaviour
from tests.faults.rig import Rig
from tests.faults.rows import ROWS, Row, Size, long_jobs, zombies

SEED = 0
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def rig_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Row], Rig]]:
    """The rig that a row needs: rows with the same settings share one, and one runs at a time."""
    running: dict[Any, Rig] = {}
    stack = ExitStack()

    def get(row: Row) -> Rig:
        if row.group not in running:
            running.clear()
            stack.close()
            folder = tmp_path_factory.mktemp("rig")
            rig = Rig(folder, seed=SEED, changes=row.settings, lossy=row.lossy)
            running[row.group] = stack.enter_context(rig)
        return running[row.group]

    with stack:
        yield get


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.number}: {row.title}") for row in ROWS])
def test_the_promise_holds(row: Row, rig_for: Callable[[Row], Rig]) -> None:
    rig = rig_for(row)
    row.run(rig, row.short)
    assert rig.settle() == [], rig.folder
    assert any(strike.row == row.number for strike in of_kind(rig.events(), Struck)), "no fault of this row happened"


def result_before_end(rig: Rig, size: Size) -> None:
    """A death between the end of a job and the writing of its result, where a worker does it in this order.

    The job takes a moment, so that it is accepted first: a submit that finds it ended reads the result that is missing.
    """
    rig.deliver(4, Behaviour.DIE_BEFORE_BLOB, ticks=20)


@pytest.mark.parametrize(
    ("defect", "strike", "count", "invariants"),
    [
        pytest.param("finish first", result_before_end, 1, {"A"}, id="a job ends before its result is written"),
        # One that wakes up too late does no harm: where others are at work, that happens.
        pytest.param("no fence", zombies, 3, {"B"}, id="the fence is ignored"),
        pytest.param("no renewal", long_jobs, 1, {"C"}, id="the lease is not renewed"),
    ],
)
def test_the_checker_finds_a_planted_defect(
    defect: str,
    strike: Callable[[Rig, Size], None],
    count: int,
    invariants: set[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Rig(tmp_path_factory.mktemp("rig"), seed=SEED, defect=defect) as rig:
        strike(rig, Size(count))
        assert invariants <= {violation.invariant for violation in rig.settle()}
