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


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("cost")) as started:
        yield started


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_within_the_budget(name: str, rig: Rig) -> None:
    assert rig.run(ATTACKS[name], share=SHORT).faults == []


def test_without_its_guards_the_service_goes_over_the_budget_where_they_were(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Rig(tmp_path_factory.mktemp("planted"), planted=list(FAULTS)) as unguarded:
        rows = [unguarded.run(ATTACKS[name], share=share) for name, share in GUARDED.items()]
    assert [row.attack.name for row in rows if not row.faults] == []
