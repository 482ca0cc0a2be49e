"""The score of a group of classes, and of two compared: identities on random logits, and logits without measure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.algebra.score import Score

ROWS = 3
some = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass(frozen=True)
class Case:
    """ROWS images, each with its own question."""

    logits: Tensor
    targets: list[list[int]]
    contrasts: list[list[int]]

    @property
    def score(self) -> Score:
        return Score.of(self.targets, self.contrasts, class_count=self.logits.shape[1])


@st.composite
def cases(draw: st.DrawFn, *, contrast: bool | None = None) -> Case:
    """Up to nine classes; contrasts with none, some or both kinds of row."""
    count = draw(st.integers(1, 9))
    groups = st.lists(st.integers(0, count - 1), min_size=1, unique=True)
    empty = st.just(list[int]())
    contrasts = {None: st.one_of(empty, groups), True: groups, False: empty}[contrast]
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    logits = torch.randn(ROWS, count, generator=random, dtype=torch.double) * draw(st.sampled_from([0.1, 3, 30]))
    return Case(logits, [draw(groups) for _ in range(ROWS)], [draw(contrasts) for _ in range(ROWS)])


def logsumexp(row: Tensor, classes: Sequence[int]) -> float:
    """In plain Python."""
    values = [float(row[k]) for k in classes]
    return max(values) + math.log(math.fsum(math.exp(value - max(values)) for value in values))


@given(cases())
@some
def test_the_score_is_the_log_sum_exp_of_the_target_less_that_of_the_contrast(case: Case) -> None:
    expected = [
        logsumexp(row, target) - (logsumexp(row, contrast) if contrast else 0)
        for row, target, contrast in zip(case.logits, case.targets, case.contrasts, strict=True)
    ]
    assert case.score.of_logits(case.logits).tolist() == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e4, 1e30]))
@some
def test_the_score_of_one_class_is_its_logit_bit_for_bit(count: int, seed: int, scale: float) -> None:
    logits = torch.randn(count, count, generator=torch.Generator().manual_seed(seed)) * scale
    score = Score.of([[k] for k in range(count)], [[]] * count, class_count=count)
    assert torch.equal(score.of_logits(logits), logits.diagonal())
    assert torch.equal(score.weights(logits), torch.eye(count))
    assert torch.equal(score.entropies(logits), torch.zeros(count))


@given(cases())
@some
def test_the_weights_are_the_gradient(case: Case) -> None:
    logits = case.logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(case.score.of_logits(logits).sum(), logits)
    assert torch.allclose(gradient, case.score.weights(case.logits), rtol=0, atol=1e-12)


@given(cases())
@some
def test_the_score_is_the_weighted_sum_of_the_logits_and_the_entropy(case: Case) -> None:
    score = case.score
    linear = (score.weights(case.logits) * case.logits).sum(1)
    assert torch.allclose(linear + score.entropies(case.logits), score.of_logits(case.logits), rtol=1e-12, atol=1e-12)


@given(cases(contrast=False))
@some
def test_the_entropy_of_a_group_lies_between_0_and_the_logarithm_of_its_size(case: Case) -> None:
    for entropy, target in zip(case.score.entropies(case.logits).tolist(), case.targets, strict=True):
        assert -1e-12 <= entropy <= math.log(len(target)) + 1e-12
    level = case.score.entropies(torch.zeros_like(case.logits)).tolist()
    assert level == pytest.approx([math.log(len(target)) for target in case.targets])


@given(cases(contrast=True))
@some
def test_a_contrast_takes_its_own_entropy_away(case: Case) -> None:
    count = case.logits.shape[1]
    own, other = (
        Score.of(groups, [[]] * ROWS, class_count=count).entropies(case.logits)
        for groups in (case.targets, case.contrasts)
    )
    assert torch.allclose(case.score.entropies(case.logits), own - other, rtol=0, atol=1e-12)


@given(cases())
@some
def test_the_order_of_classes_and_of_images_changes_nothing(case: Case) -> None:
    rows = [2, 0, 1]
    assert torch.equal(case.score[rows].of_logits(case.logits[rows]), case.score.of_logits(case.logits)[rows])
    turned = ([group[::-1] for group in groups] for groups in (case.targets, case.contrasts))
    score = Score.of(*turned, class_count=case.logits.shape[1])
    assert torch.equal(score.of_logits(case.logits), case.score.of_logits(case.logits))


@given(cases())
@some
def test_one_question_may_be_put_to_many_rows_of_logits(case: Case) -> None:
    for n in range(ROWS):
        score = case.score[[n]]
        apart = [score.of_logits(row[None]) for row in case.logits]
        assert torch.equal(score.of_logits(case.logits), torch.cat(apart))
        assert score.probabilities(case.logits).shape == (ROWS,)


@given(cases(contrast=False))
@some
def test_the_log_odds_of_a_group_against_all_others_are_the_logit_of_its_probability(case: Case) -> None:
    count = case.logits.shape[1]
    case = Case(case.logits / 10, case.targets, [[k for k in range(count) if k not in own] for own in case.targets])
    probabilities = Score.of(case.targets, [[]] * ROWS, class_count=count).probabilities(case.logits)
    for odds, probability, rest in zip(
        case.score.of_logits(case.logits).tolist(), probabilities.tolist(), case.contrasts, strict=True
    ):
        if rest:
            assert odds == pytest.approx(math.log(probability) - math.log1p(-probability), abs=1e-8)


@given(cases())
@some
def test_the_probability_is_the_softmax_of_the_target_less_that_of_the_contrast(case: Case) -> None:
    shares = case.logits.softmax(1)
    expected = [
        float(row[target].sum() - row[contrast].sum())
        for row, target, contrast in zip(shares, case.targets, case.contrasts, strict=True)
    ]
    assert case.score.probabilities(case.logits).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("spread", [1e3, 1e30])
def test_large_logits_do_not_overflow(spread: float) -> None:
    logits = torch.tensor([[spread, -spread, 0.0, spread / 2]]).requires_grad_()
    for target, contrast in (([0, 1], []), ([1, 2], [0]), ([1], [2, 3]), ([0, 1, 2, 3], [1])):
        score = Score.of([target], [contrast], class_count=4)
        (gradient,) = torch.autograd.grad(score.of_logits(logits).sum(), logits)
        found = (score.of_logits(logits), score.weights(logits), score.entropies(logits), gradient)
        assert all(one.isfinite().all() for one in found)
    assert float(Score.of([[0, 1]], [[]], class_count=4).of_logits(logits.detach())) == pytest.approx(spread)
