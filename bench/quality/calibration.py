"""Q10: whether a confidence means what it says, after a temperature fitted on one half of the held-out pictures and
measured on the other."""

from __future__ import annotations

from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.figures import Figure, estimate
from bench.quality.context import BATCH, SHIPPED, Context, HeldOut, Sizes
from worker.algebra.tree import TreeMatrices, TreeMode, edge_scores
from worker.explain.explanations import tree_mode
from worker.trust.calibration import (
    QUANTILE,
    CalibrationError,
    calibrated_edges,
    calibration_bound,
    confidences,
    expected_calibration_error,
    fit_decision_temperatures,
    fit_temperature,
    node_calibration,
)


def calibration(context: Context, n: Sizes) -> list[Figure]:
    """Q10, on both shipped models: of the network and of the decisions of its tree."""
    return [figure for name in SHIPPED for figure in _figures(context.held_out(name), n["pictures"], seed=context.seed)]


def _figures(held: HeldOut, count: int, *, seed: int) -> list[Figure]:
    logits, labels = held.logits[:count], held.labels[:count]
    half = len(logits) // 2
    fitted, measured = (logits[:half], labels[:half]), (logits[half:], labels[half:])
    return [_overall(held, fitted, measured, seed=seed), _nodes(held, fitted, measured, seed=seed)]


def _overall(held: HeldOut, fitted: tuple[Tensor, Tensor], measured: tuple[Tensor, Tensor], *, seed: int) -> Figure:
    temperature = fit_temperature(*fitted)
    confidence, answer = confidences(measured[0], temperature=temperature)
    raw, _ = confidences(measured[0], temperature=1.0)
    correct = (answer == measured[1]).double()
    bound = calibration_bound(confidence, seed=seed)
    best = fit_temperature(*measured)
    least = expected_calibration_error(confidences(measured[0], temperature=best)[0], correct)
    figure = estimate(
        f"Q10 calibration error of the confidence, {held.model.card.name}",
        torch.stack([confidence, correct], 1).numpy(),
        unit="ECE",
        statistic=calibration_error,
        target=f"<= {bound:.4g}",
        controls={
            "95th percentile of a perfect model": bound,
            "without temperature": expected_calibration_error(raw, correct),
            "temperature": temperature,
            "with the temperature of this half": least,
        },
        meaning="Mean gap between confidence and the share of right answers; the bound is what chance alone makes of a "
        "perfectly calibrated model at the same n.",
    )
    return figure.explained(
        f"With the temperature that fits the measured half itself, {best:.3f} in place of {temperature:.3f}, the error "
        f"would be {least:.4f}: the pictures left for fitting, {len(fitted[1]):,}, do not settle the temperature. The "
        f"interval of the error, {figure.low:.4f} to {figure.high:.4f}, holds the bound."
    )


def calibration_error(samples: NDArray[np.float64]) -> float:
    """Expected calibration error of (confidence, correct) rows."""
    confidence, correct = torch.from_numpy(samples).unbind(1)
    return expected_calibration_error(confidence, correct)


def _nodes(held: HeldOut, fitted: tuple[Tensor, Tensor], measured: tuple[Tensor, Tensor], *, seed: int) -> Figure:
    card = held.model.card
    mode = tree_mode(card, "auto")
    assert card.hierarchy is not None and mode is not None, f"{card.name} ships without a tree"
    matrices = TreeMatrices.of(card.hierarchy, dtype=torch.float64)
    scores, labels = _scores(measured[0], matrices, mode), measured[1]

    def calibrated(temperatures: Tensor) -> list[CalibrationError]:
        edge_p = calibrated_edges(scores, temperatures, matrices)
        return [node for node in node_calibration(edge_p, labels, matrices, seed=seed) if node.n]

    nodes = calibrated(fit_decision_temperatures(_scores(fitted[0], matrices, mode), fitted[1], matrices))
    least = _share_within(calibrated(fit_decision_temperatures(scores, labels, matrices)))
    worst = max(nodes, key=lambda node: node.ece - node.bound)
    decisions = len(matrices.children)
    figure = Figure(
        f"Q10 calibrated nodes, {card.name}",
        _share_within(nodes),
        "%",
        n=len(nodes),
        target=">= 95",
        controls={
            "pictures": len(measured[0]),
            "worst error": worst.ece,
            "its bound": worst.bound,
            "with the temperatures of this half, %": least,
        },
        meaning=f"Share of the tree's nodes ({mode} mode) whose calibration error is within what chance makes of a "
        "perfectly calibrated node; of perfect nodes, 95 % would be.",
    )
    return figure.explained(
        f"With temperatures that fit the measured half itself {least:.1f} % would be within: what {len(fitted[1]):,} "
        f"pictures over {decisions} decisions say of a temperature does not carry over exactly. The children of a "
        f"decision stand and fall together, so that the tree has {decisions} independent chances: about "
        f"{100 * _chance(decisions):.0f} % of trees that are calibrated perfectly would reach this target."
    )


def _share_within(nodes: list[CalibrationError]) -> float:
    """Per cent of the nodes whose error is within its bound."""
    return 100 * sum(node.within for node in nodes) / len(nodes)


def _chance(decisions: int) -> float:
    """The probability that at least 95 % of a perfect tree's nodes are within a bound that each decision keeps with
    a probability of 95 %."""
    allowed = int(decisions * (1 - QUANTILE) + 1e-9)
    return sum(comb(decisions, k) * (1 - QUANTILE) ** k * QUANTILE ** (decisions - k) for k in range(allowed + 1))


def _scores(logits: Tensor, matrices: TreeMatrices, mode: TreeMode) -> Tensor:
    return torch.cat([edge_scores(part.double(), matrices, mode=mode) for part in logits.split(BATCH)])
