"""Measuring the limits of verdicts: planted logits give planted limits, and a card keeps all else it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.cards.calibration import Calibration
from shared.cards.card import ModelCard, Registry
from shared.cards.verdicts import BELIEVE_AT, GUESS_BELOW, SURE_AT, Unfamiliar, VerdictLimits
from shared.errors import ModelUnavailable
from shared.settings import REPOSITORY
from tests.shared.calibration import CALIBRATION
from tests.shared.cards import write_card
from training.verdicts import CANDIDATES, RIGHT, sure_at, write
from worker.algebra.tree import TreeMatrices
from worker.explain.sure import sure_nodes

SHIPPED = ("efficientnet-lite0-imagenet", "nbdt-cifar10", "resnet18-photos100")


@pytest.fixture(scope="module")
def matrices(registry: Registry) -> TreeMatrices:
    tree = registry.get("nbdt-cifar10").hierarchy
    assert tree is not None
    return TreeMatrices.of(tree)


def drawn(*, sharper: float, count: int = 4000) -> tuple[Tensor, Tensor]:
    """Labels drawn from a softmax, and the logits multiplied: above 1 the network is surer than it is right."""
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(count, 10, generator=random)
    return sharper * logits, torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]


def right(logits: Tensor, labels: Tensor, matrices: TreeMatrices, *, at: float) -> float:
    edges = sure_nodes(logits, matrices, at=at).edges
    return float(matrices.membership[edges, labels].mean())


@pytest.mark.parametrize("sharper", [0.7, 1.0, 1.5])
def test_the_limit_is_the_least_at_which_enough_sure_answers_are_right(sharper: float, matrices: TreeMatrices) -> None:
    logits, labels = drawn(sharper=sharper)
    at = sure_at(logits, labels, matrices)
    assert 0.51 < at < 0.99 and right(logits, labels, matrices, at=at) >= RIGHT
    assert right(logits, labels, matrices, at=round(at - 0.01, 2)) < RIGHT


def test_the_surer_a_network_is_the_more_it_must_hold(matrices: TreeMatrices) -> None:
    limits = [sure_at(*drawn(sharper=sharper), matrices) for sharper in (0.5, 1.0, 1.5, 3.0)]
    assert limits == sorted(limits) and limits[0] < limits[-1]


def test_a_network_that_is_always_right_needs_the_least_and_one_that_is_always_wrong_the_most(
    matrices: TreeMatrices,
) -> None:
    labels = torch.arange(10).repeat(10)
    logits = 50 * torch.eye(10)[labels]
    assert sure_at(logits, labels, matrices) == CANDIDATES[0] == 0.51
    assert sure_at(logits, labels.roll(1), matrices) == CANDIDATES[-1] == 0.99


def test_a_block_goes_through_the_card_and_back_and_leaves_all_else(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    shutil.copy(REPOSITORY / "models" / "nbdt-cifar10" / "card.json", path)
    before = json.loads(path.read_text("utf-8"))
    limits = VerdictLimits(0.81, 0.9, 0.2, Unfamiliar("energy", 8.25), "some photographs", probably_seen=True)
    for _ in range(2):
        write(path, limits.to_dict())
    after = json.loads(path.read_text("utf-8"))
    assert ModelCard.load(path, cache=tmp_path).limits == limits
    assert list(after)[-2:] == ["verdict", "facts"]
    assert {**after, "verdict": before["verdict"]} == before
    text = path.read_text("utf-8")
    write(path, before["verdict"])
    assert path.read_text("utf-8") != text
    assert path.read_bytes() == (REPOSITORY / "models" / "nbdt-cifar10" / "card.json").read_bytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_limits_of_a_shipped_model_stand_in_its_card(name: str, registry: Registry) -> None:
    limits = registry.get(name).limits
    assert limits.data is not None and limits.unfamiliar is not None
    assert 0.5 < limits.sure_at < 0.8 and 0 < limits.guess_below < limits.sure_at < limits.believe_at
    assert limits.probably_seen == (name == SHIPPED[0])


# -- as a card is read -----------------------------------------------------------------------------------------------


def test_what_a_block_leaves_out_comes_from_the_calibration_and_else_from_the_general_limits() -> None:
    measured = Calibration.from_dict(CALIBRATION)
    assert (
        VerdictLimits.of(None, None)
        == VerdictLimits(SURE_AT, BELIEVE_AT, GUESS_BELOW, None, None, False)
        == VerdictLimits()
    )
    assert VerdictLimits.of(None, measured) == VerdictLimits(SURE_AT, BELIEVE_AT, 0.45, Unfamiliar("energy", 3.5))
    known = VerdictLimits.of({"sure_at": 0.8, "believe_at": 0.9, "data": "pets"}, measured)
    assert known == VerdictLimits(0.8, 0.9, 0.45, Unfamiliar("energy", 3.5), "pets")
    block = {"guess_below": 0.3, "unfamiliar": {"kind": "max-logit", "below": 2.0}}
    assert VerdictLimits.of(block, measured) == VerdictLimits(SURE_AT, BELIEVE_AT, 0.3, Unfamiliar("max-logit", 2.0))
    assert VerdictLimits.of({"unfamiliar": None}, measured).unfamiliar is None


@pytest.mark.parametrize(
    "block",
    [
        {"sure_at": 0.5},
        {"sure_at": 1.01},
        {"sure_at": "high"},
        {"believe_at": 0},
        {"believe_at": 1.5},
        {"sure": 0.7},
        {"unfamiliar": {"kind": "energy"}},
        {"unfamiliar": 3},
        [1],
    ],
    ids=str,
)
def test_a_block_that_is_not_readable_makes_the_card_unavailable_by_name(block: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"^the model card pets/card\.json is not readable: "):
        ModelCard.load(write_card(tmp_path, verdict=block), cache=tmp_path)
