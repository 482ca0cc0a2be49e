"""The block `reliability` of a card: read as written, absent where not measured, refused where not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cards.calibration import Calibration, Detection
from shared.cards.card import ModelCard
from shared.errors import ModelUnavailable
from tests.shared.calibration import CALIBRATION
from tests.shared.cards import write_card


def test_a_block_is_read_as_it_was_written() -> None:
    found = Calibration.from_dict(CALIBRATION)
    assert found.to_dict() == CALIBRATION
    assert found.familiarity.detection == {"noise": Detection(0.99, 0.9)}
    assert found.tree is not None and found.tree.weak_below["marginal"] == 0.72


def test_a_model_without_a_tree_has_none_here() -> None:
    assert Calibration.from_dict({**CALIBRATION, "tree": None}).tree is None
    assert Calibration.from_dict({key: value for key, value in CALIBRATION.items() if key != "tree"}).tree is None


def test_a_card_carries_the_block_or_none(tmp_path: Path) -> None:
    assert ModelCard.load(write_card(tmp_path), cache=tmp_path).calibration is None
    found = ModelCard.load(write_card(tmp_path, reliability=CALIBRATION), cache=tmp_path).calibration
    assert found is not None and found.temperature == 1.25


@pytest.mark.parametrize(
    "block", [{}, {**CALIBRATION, "mood": "good"}, {**CALIBRATION, "familiarity": None}, {**CALIBRATION, "tree": {}}, 3]
)
def test_a_block_that_is_not_whole_makes_the_card_unreadable(tmp_path: Path, block: object) -> None:
    with pytest.raises(ModelUnavailable, match="pets/card.json is not readable"):
        ModelCard.load(write_card(tmp_path, reliability=block), cache=tmp_path)
