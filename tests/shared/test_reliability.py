"""The reliability block of a card: read as written, absent where not measured, refused where not whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cards.calibration import Detection, Reliability
from shared.cards.card import ModelCard
from shared.errors import ModelUnavailable
from tests.shared.cards import write_card
from tests.shared.reliability import RELIABILITY


def test_a_block_is_read_as_it_was_written() -> None:
    found = Reliability.from_dict(RELIABILITY)
    assert found.to_dict() == RELIABILITY
    assert found.familiarity.detection == {"noise": Detection(0.99, 0.9)}
    assert found.tree is not None and found.tree.weak_below["marginal"] == 0.72


def test_a_model_without_a_tree_has_none_here() -> None:
    assert Reliability.from_dict({**RELIABILITY, "tree": None}).tree is None
    assert Reliability.from_dict({key: value for key, value in RELIABILITY.items() if key != "tree"}).tree is None


def test_a_card_carries_the_block_or_none(tmp_path: Path) -> None:
    assert ModelCard.load(write_card(tmp_path), cache=tmp_path).reliability is None
    found = ModelCard.load(write_card(tmp_path, reliability=RELIABILITY), cache=tmp_path).reliability
    assert found is not None and found.temperature == 1.25


@pytest.mark.parametrize(
    "block", [{}, {**RELIABILITY, "mood": "good"}, {**RELIABILITY, "familiarity": None}, {**RELIABILITY, "tree": {}}, 3]
)
def test_a_block_that_is_not_whole_makes_the_card_unreadable(tmp_path: Path, block: object) -> None:
    with pytest.raises(ModelUnavailable, match="pets/card.json is not readable"):
        ModelCard.load(write_card(tmp_path, reliability=block), cache=tmp_path)
