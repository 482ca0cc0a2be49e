"""The short form of the cost rig: every attack with little of it, against a real service; and planted faults.

`make faults` is the full form, which also says what another caller feels: on a machine with other work, nobody can.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cost.attacks import ATTACKS
from tests.faults.cost.planted import FAULTS, GUARDED
from tests.faults.cost.rig import Rig
from tests.faults.cost.run import SHORT

SLOW = {"12 pictures drawn at once", "PNG of 9,000 profiles", "tar of header records"}  # the full form takes them


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("cost")) as started:
        yield started


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_within_the_budget(name: str, rig: Rig) -> None:
    assert rig.run(ATTACKS[name], share=SHORT).faults == []


@pytest.fixture(scope="module")
def unguarded(rig: Rig) -> Iterator[Rig]:
    with rig.without_guards(list(FAULTS)) as other:
        yield other


@pytest.mark.parametrize("name", [name for name in GUARDED if name not in SLOW])
def test_without_its_guard_an_attack_goes_over_the_budget(name: str, unguarded: Rig) -> None:
    assert unguarded.run(ATTACKS[name], share=GUARDED[name]).faults != []
