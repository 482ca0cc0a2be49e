"""Warnings: each fires on a planted case, and none where all is well."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from shared.answer.path import WEAK_BELOW, DecisionPath
from shared.answer.record import Caution
from shared.cards.calibration import FamiliarityLimit
from tests.shared.answers import path_of
from worker.trust.stability import of_correlations
from worker.trust.warnings import (
    border_shares,
    confidence_warnings,
    familiarity_warnings,
    map_warnings,
    path_warnings,
    stability_warnings,
    warning,
)

LIMIT = FamiliarityLimit("energy", 3.0, 0.05, 0.06, {}, {})


def codes(warnings: list[Caution]) -> list[str]:
    for one in warnings:
        assert set(one.to_dict()) == {"code", "params", "text"}
        assert one.text.endswith(".") and "nan" not in one.text
    return [one.code for one in warnings]


def bump(row: int, column: int, side: int = 7) -> Tensor:
    raw = torch.full((side, side), -0.5)
    raw[row, column] = 3
    return raw


def path(*probabilities: float, agrees: bool = True, **more: float) -> DecisionPath:
    steps = [
        {"node": f"n{i}", "name": f"node {i}", "probability": p, "siblings": []} for i, p in enumerate(probabilities)
    ]
    weakest = min(range(len(steps)), key=lambda i: probabilities[i])
    base = {"prediction": {"index": 1, "name": "dog"}, "agrees_with_network": agrees, "weakest": weakest}
    return path_of({**base, "steps": steps, **more})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (torch.full((7, 7), math.nan), ["map_not_finite"]),
        (torch.tensor([[1.0, math.inf]]), ["map_not_finite"]),
        (torch.zeros(7, 7), ["map_constant", "map_without_positive"]),
        (torch.full((7, 7), 2.0), ["map_constant"]),
        (torch.tensor([[5.0]]), ["map_constant"]),
        (-1 - torch.rand(7, 7), ["map_without_positive"]),
        (bump(0, 3), ["map_at_border"]),
        (bump(6, 6), ["map_at_border"]),
        (bump(30, 3, side=32), ["map_at_border"]),
        (bump(3, 3), []),
        (bump(1, 1), []),
        (bump(16, 5, side=32), []),
        (torch.rand(7, 7), []),
        (bump(0, 1, side=3), []),
    ],
)
def test_a_map_is_warned_of_for_what_is_wrong_with_it(raw: Tensor, expected: list[str]) -> None:
    assert codes(map_warnings(raw[None])[0]) == expected


def test_every_map_of_a_batch_is_warned_of_for_itself() -> None:
    maps = torch.stack([bump(3, 3), bump(0, 3), torch.full((7, 7), math.nan), bump(1, 1)])
    assert [codes(found) for found in map_warnings(maps)] == [[], ["map_at_border"], ["map_not_finite"], []]


def test_the_border_is_measured_by_positive_evidence_alone() -> None:
    raw = bump(0, 0) + bump(3, 3) + 0.5
    raw[3, 3] = 1
    raw[0, 0] = 3
    assert border_shares(torch.stack([raw.clamp(min=0), -raw.abs()])) == [pytest.approx(3 / 4), 0]


def test_an_unsure_answer_is_flagged_below_the_threshold_only() -> None:
    assert codes(confidence_warnings(0.31, threshold=0.41)) == ["low_confidence"]
    assert "31%" in confidence_warnings(0.31, threshold=0.41)[0].text
    assert confidence_warnings(0.41, threshold=0.41) == []
    assert confidence_warnings(0.01, threshold=None) == []


def test_an_unfamiliar_picture_is_flagged_below_the_threshold_only() -> None:
    assert codes(familiarity_warnings(2.9, limit=LIMIT)) == ["unfamiliar_picture"]
    assert "5%" in familiarity_warnings(2.9, limit=LIMIT)[0].text
    assert familiarity_warnings(3.0, limit=LIMIT) == []
    assert familiarity_warnings(-9.0, limit=None) == []


def test_the_weakest_decision_is_named_where_it_is_weak() -> None:
    found = path_warnings(path(0.99, 0.55, 0.9, weak_below=0.7), network="dog")
    assert codes(found) == ["weak_decision"]
    assert found[0].params == {"at": 1, "node": "n1", "name": "node 1", "probability": 0.55, "threshold": 0.7}
    assert path_warnings(path(0.99, 0.75, 0.9, weak_below=0.7), network="dog") == []


def test_a_path_that_states_no_threshold_has_the_usual_one() -> None:
    assert codes(path_warnings(path(WEAK_BELOW - 0.01), network="dog")) == ["weak_decision"]
    assert path_warnings(path(WEAK_BELOW), network="dog") == []


def test_a_likelier_branch_that_was_passed_by_is_named() -> None:
    marginal = path(0.99, 0.34, weak_below=0.3).to_dict()
    marginal["steps"][1] |= {
        "name": "brown bear, bruin, Ursus arctos",
        "siblings": [
            {"node": "n7", "name": "dog", "probability": 0.53},
            {"node": "n8", "name": "cat", "probability": 0.13},
        ],
    }
    (found,) = path_warnings(path_of(marginal), network="dog")
    assert found.text == (
        "At 'brown bear' (34%) the path passes 'dog' by, which is likelier (53%): it leads to the likeliest single "
        "class, dog, and the classes below 'dog' share what that branch has."
    )
    marginal["steps"][1]["siblings"] = []
    assert path_warnings(path_of(marginal), network="dog") == []


def test_a_tree_that_disagrees_with_its_network_says_with_what() -> None:
    found = path_warnings(path(0.9, agrees=False), network="tabby, tabby cat")
    assert codes(found) == ["tree_disagrees"]
    assert found[0].params == {"tree": "dog", "network": "tabby"}


def test_an_unstable_map_is_flagged_by_its_lowest_correlation() -> None:
    assert codes(stability_warnings(of_correlations(0.99, 0.9, 0.4))) == ["map_unstable"]
    assert "0.40" in stability_warnings(of_correlations(0.99, 0.9, 0.4))[0].text
    assert stability_warnings(of_correlations(0.99, 0.9, 0.85)) == []
    assert stability_warnings(of_correlations(None, None, None)) == []


def test_a_warning_is_the_document_of_the_contract() -> None:
    assert warning("some_code", "A sentence.", at=1).to_dict() == {
        "code": "some_code",
        "params": {"at": 1},
        "text": "A sentence.",
    }
