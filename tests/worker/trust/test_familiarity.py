"""Familiarity: strong answers are familiar, flat ones are not, and the threshold keeps its rate of false alarms."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from worker.trust.familiarity import FamiliarityKind, familiarity, familiarity_threshold, separation


def test_the_scores_are_log_sum_exp_and_the_largest_logit() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    energy = familiarity(logits, kind=FamiliarityKind.ENERGY)
    assert energy.tolist() == pytest.approx([float(row.exp().sum().log()) for row in logits])
    assert familiarity(logits, kind=FamiliarityKind.MAX_LOGIT).tolist() == [2, 0]


@pytest.mark.parametrize("kind", FamiliarityKind)
def test_a_strong_answer_is_more_familiar_than_a_flat_one_and_none_is_lost_to_overflow(kind: FamiliarityKind) -> None:
    flat, strong, huge = familiarity(torch.tensor([[0.0, 0.1], [9.0, 0.0], [1e5, 0.0]]), kind=kind)
    assert flat < strong < huge < torch.inf


def test_the_threshold_keeps_its_rate_of_false_alarms() -> None:
    scores = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    limit = familiarity_threshold(scores[:2000], false_alarm=0.05)
    assert float((scores[:2000] < limit).float().mean()) == pytest.approx(0.05, abs=0.001)
    assert float((scores[2000:] < limit).float().mean()) == pytest.approx(0.05, abs=0.015)


def test_separation_is_the_area_under_the_roc_curve() -> None:
    rng = torch.Generator().manual_seed(0)
    familiar, foreign = torch.randint(2, 9, (40,), generator=rng), torch.randint(0, 6, (30,), generator=rng)
    truth = [1] * 40 + [0] * 30
    assert separation(familiar, foreign) == pytest.approx(roc_auc_score(truth, torch.cat([familiar, foreign])))
    assert separation(familiar, familiar) == pytest.approx(0.5)
    assert separation(familiar + 100, foreign) == 1
