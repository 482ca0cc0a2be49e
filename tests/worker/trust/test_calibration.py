"""Calibration: a planted temperature is found again, and a perfectly calibrated model stays below its bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from shared.cards.hierarchy import Hierarchy, Node
from worker.algebra.tree import TreeMatrices, TreeMode, edge_scores, infer
from worker.trust.calibration import (
    BINS,
    accuracy_threshold,
    calibrated_edges,
    calibration_bound,
    calibration_error,
    confidences,
    decisions_on_paths,
    expected_calibration_error,
    fit_decision_temperatures,
    fit_temperature,
    node_calibration,
)

TREE = Hierarchy(
    (
        Node("root", None, ("left", "right")),
        Node("left", None, ("a", "b")),
        Node("right", None, ("c", "d")),
        *(Node(name, None, leaf=leaf) for leaf, name in enumerate("abcd")),
    )
)


def sample(n: int, k: int, *, seed: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of a model that is calibrated at `temperature`, with labels drawn from its own probabilities."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, k, generator=rng, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    return logits * temperature, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_planted_temperature_is_found_again(temperature: float) -> None:
    logits, labels = sample(6000, 5, seed=1, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_fit_is_the_minimum_of_the_likelihood() -> None:
    logits, labels = sample(400, 5, seed=2, temperature=1.7)
    found = fit_temperature(logits, labels)
    losses = [float(functional.cross_entropy(logits / (found * step), labels)) for step in (0.99, 1, 1.01)]
    assert losses[1] == min(losses)


def test_each_decision_gets_its_own_planted_temperature() -> None:
    matrices = TreeMatrices.of(TREE, dtype=torch.float64)
    logits, labels = sample(8000, 4, seed=3)
    planted = torch.tensor([0.7, 1.0, 1.4], dtype=torch.float64)
    truth = edge_scores(logits, matrices, mode=TreeMode.MARGINAL)
    hotter = truth * functional.pad(planted[matrices.decision], (0, 1), value=1.0)
    found = fit_decision_temperatures(hotter, labels, matrices)
    assert found.tolist() == pytest.approx(planted.tolist(), rel=0.1)
    back = calibrated_edges(hotter, planted, matrices)
    assert torch.allclose(back, infer(logits, matrices, mode=TreeMode.MARGINAL).edge_log_p.exp())


def test_a_decision_before_which_no_image_stands_gets_the_common_temperature() -> None:
    matrices = TreeMatrices.of(TREE, dtype=torch.float64)
    logits, labels = sample(8000, 4, seed=3, temperature=1.5)
    few = labels < 2
    found = fit_decision_temperatures(edge_scores(logits[few], matrices, mode=TreeMode.MARGINAL), labels[few], matrices)
    assert min(found[0], found[1]) < found[2] < max(found[0], found[1])


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.05, 20))
def test_a_temperature_never_changes_the_answer(seed: int, temperature: float) -> None:
    logits, _ = sample(20, 6, seed=seed)
    confidence, index = confidences(logits, temperature=temperature)
    assert torch.equal(index, logits.argmax(1))
    assert ((confidence >= 1 / 6) & (confidence <= 1)).all()


def test_degenerate_answers_give_numbers_all_the_same() -> None:
    ones = torch.zeros(8, dtype=torch.long)
    assert fit_temperature(torch.randn(8, 1), ones) == 1
    saturated = functional.one_hot(torch.arange(8) % 3, 3) * 1e4
    assert 0.04 < fit_temperature(saturated, torch.arange(8) % 3) < 21
    assert confidences(saturated.float(), temperature=1.0)[0].tolist() == [1.0] * 8
    wrong = fit_temperature(saturated, (torch.arange(8) + 1) % 3)
    assert np.isfinite(wrong) and wrong == pytest.approx(20, rel=1e-3)
    error = calibration_error(torch.tensor([]), torch.tensor([], dtype=torch.bool), seed=0)
    assert (error.ece, error.bound, error.n, error.within) == (0, 0, 0, True)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_the_sum_over_bins(answers: list[tuple[float, bool]]) -> None:
    confidence = torch.tensor([p for p, _ in answers], dtype=torch.float64)
    correct = torch.tensor([right for _, right in answers])
    expected = 0.0
    for number in range(BINS):
        inside = [(p, right) for p, right in answers if min(int(p * BINS), BINS - 1) == number]
        if inside:
            gap = np.mean([right for _, right in inside]) - np.mean([p for p, _ in inside])
            expected += len(inside) / len(answers) * float(abs(gap))
    found = expected_calibration_error(confidence, correct)
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= found <= 1


def test_a_perfect_model_stays_below_its_bound_in_about_95_of_100_samples() -> None:
    rng = torch.Generator().manual_seed(0)
    confidence = torch.rand(300, generator=rng, dtype=torch.float64)
    bound = calibration_bound(confidence, seed=1)
    errors = [expected_calibration_error(confidence, torch.rand(300, generator=rng) < confidence) for _ in range(200)]
    assert 0.90 <= np.mean([error <= bound for error in errors]) <= 0.99


def test_an_overconfident_model_is_above_its_bound() -> None:
    rng = torch.Generator().manual_seed(0)
    assert not calibration_error(torch.full((500,), 0.9), torch.rand(500, generator=rng) < 0.7, seed=0).within


def test_the_bound_is_seeded_and_falls_with_the_number_of_answers() -> None:
    confidence = torch.linspace(0.2, 1, 2000)
    assert calibration_bound(confidence, seed=3) == calibration_bound(confidence, seed=3)
    assert calibration_bound(confidence, seed=3) < calibration_bound(confidence[::20], seed=3)


def test_a_node_is_measured_on_the_images_that_stand_before_its_decision() -> None:
    matrices = TreeMatrices.of(TREE, dtype=torch.float64)
    logits, labels = sample(4000, 4, seed=5)
    edge_p = infer(logits, matrices, mode=TreeMode.MARGINAL).edge_log_p.exp()
    found = dict(
        zip((child for _, child in TREE.edges), node_calibration(edge_p, labels, matrices, seed=0), strict=True)
    )
    assert found["left"].n == found["right"].n == 4000
    assert found["a"].n == found["b"].n == int((labels < 2).sum())
    assert sum(error.within for error in found.values()) >= 5
    skewed = edge_p.clone()
    skewed[:, [edge for edge, (parent, _) in enumerate(TREE.edges) if parent == "left"]] = torch.tensor(
        [0.95, 0.05]
    ).double()
    worse = dict(
        zip((child for _, child in TREE.edges), node_calibration(skewed, labels, matrices, seed=0), strict=True)
    )
    assert not worse["a"].within and not worse["b"].within
    assert worse["c"] == found["c"]


def test_the_decisions_on_a_path_count_up_to_the_first_wrong_turn() -> None:
    matrices = TreeMatrices.of(TREE, dtype=torch.float64)
    inference = infer(torch.tensor([[5.0, 0, 0, 0]], dtype=torch.float64).expand(3, 4), matrices, mode=TreeMode.SOFT)
    probability, right = decisions_on_paths(inference, torch.tensor([0, 1, 2]), matrices)
    assert right.tolist() == [True, True, True, False, False]  # a: both right; b: then wrong; c: wrong at once
    left, a = (float(inference.edge_log_p[0, edge].exp()) for edge in (0, 2))
    assert probability.tolist() == pytest.approx([left, a, left, a, left])


def test_the_threshold_is_where_accuracy_crosses_the_level() -> None:
    rng = torch.Generator().manual_seed(0)
    confidence = torch.rand(20_000, generator=rng, dtype=torch.float64)
    correct = torch.rand(20_000, generator=rng) < confidence
    for level in (0.3, 0.5, 0.75):
        assert accuracy_threshold(confidence, correct, level=level) == pytest.approx(level, abs=0.05)


def test_a_model_that_is_always_right_has_no_threshold_and_one_that_is_always_wrong_flags_all() -> None:
    confidence = torch.tensor([0.2, 0.5, 0.9])
    assert accuracy_threshold(confidence, torch.tensor([True] * 3), level=0.5) == 0
    assert accuracy_threshold(confidence, torch.tensor([False] * 3), level=0.5) == 1
    tied = torch.tensor([0.4, 0.4, 0.4, 0.9])
    assert accuracy_threshold(tied, torch.tensor([False, True, False, True]), level=0.5) == pytest.approx(0.9)
