"""Calibration: does an answer given with 80 % confidence turn out right 8 times in 10?

A temperature T, fitted on held-out data, divides the logits (arXiv 1706.04599): the order of the classes stays, only
the confidence changes. The expected calibration error (ECE) compares confidence and accuracy in 15 equal bins. It is
above 0 even for a perfect model, because bins are finite; the bound says how much above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn import functional

from worker.algebra.tree import TreeInference, TreeMatrices, log_softmax_by_decision

BINS = 15
SIMULATIONS = 1000
QUANTILE = 0.95
PRIOR = 0.15  # of the logarithm of a decision's temperature
HOTTEST, COLDEST = 20.0, 0.05  # temperatures outside of this say that fitting failed
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class CalibrationError:
    """ECE of n answers, and the bound that a perfectly calibrated model stays below in 95 of 100 such samples."""

    ece: float
    bound: float
    n: int

    @property
    def within(self) -> bool:
        return self.ece <= self.bound


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the least mean negative log-likelihood of N x K logits for N labels."""
    z = logits.double()
    return best_temperature(lambda t: float(functional.cross_entropy(z / t, labels)))


def fit_decision_temperatures(scores: Tensor, labels: Tensor, matrices: TreeMatrices) -> Tensor:
    """One temperature for each of M decisions of a tree, from the N x (E + 1) scores of edges and N labels.

    For soft and hard mode: a score that is the mean of many logits is flatter than one of few, so that no single
    temperature fits them all. In marginal mode the network's temperature, on the logits, calibrates the nodes too.
    Each is fitted on the images whose true leaf lies below the decision, and held to the temperature common to all by
    a normal prior on its logarithm, of standard deviation PRIOR: with few images it is the common one.
    """
    below = matrices.membership[:-1].bool().T[labels]  # N x E
    stands = []
    for decision in range(len(matrices.children)):
        edges = (matrices.decision == decision).nonzero()[:, 0]
        there = below[:, edges].any(1)
        stands.append((scores.double()[there][:, edges], below[there][:, edges].long().argmax(1)))

    def loss(decision: int, t: float) -> float:
        z, child = stands[decision]
        return float(functional.cross_entropy(z / t, child, reduction="sum"))

    def held(decision: int, t: float) -> float:
        return loss(decision, t) + math.log(t / common) ** 2 / (2 * PRIOR**2)

    decisions = range(len(matrices.children))
    common = best_temperature(lambda t: sum(loss(decision, t) for decision in decisions))
    return torch.tensor([best_temperature(partial(held, decision)) for decision in decisions], dtype=torch.float64)


def calibrated_edges(scores: Tensor, temperatures: Tensor, matrices: TreeMatrices) -> Tensor:
    """N x E probabilities of the children given their decisions, from N x (E + 1) scores and M temperatures."""
    of_edges = functional.pad(temperatures.to(scores.device)[matrices.decision], (0, 1), value=1.0)
    return log_softmax_by_decision(scores.double() / of_edges, matrices).exp()


def best_temperature(loss: Callable[[float], float]) -> float:
    """Golden-section search over the logarithm of T. The likelihood is convex in 1/T, hence has one valley there.
    1 where no temperature does better."""
    low, high = math.log(COLDEST), math.log(HOTTEST)
    while high - low > 1e-6:
        a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, b) if loss(math.exp(a)) <= loss(math.exp(b)) else (a, high)
    found = math.exp((low + high) / 2)
    return found if loss(found) < loss(1.0) - 1e-9 else 1.0


def confidences(logits: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Calibrated probability of the most likely class, and its index, for each of N x K logits."""
    top = (logits.double() / temperature).softmax(1).max(1)
    return top.values, top.indices


def expected_calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """ECE, 0..1, of N confidences in 0..1 and N truths: the mean over bins, weighted by their size, of
    |accuracy - mean confidence|. 0 for no answers."""
    if not len(confidence):
        return 0.0
    return float(_errors(confidence.double(), correct.double()[None])[0])


def calibration_bound(confidence: Tensor, *, seed: int) -> float:
    """The 95th percentile of the ECE of a model that is right exactly as often as its N confidences say."""
    if not len(confidence):
        return 0.0
    p, rng = confidence.double().cpu(), Generator().manual_seed(seed)
    drawn = [_errors(p, (torch.rand(50, len(p), generator=rng) < p).double()) for _ in range(SIMULATIONS // 50)]
    return float(torch.cat(drawn).quantile(QUANTILE))


def calibration_error(confidence: Tensor, correct: Tensor, *, seed: int) -> CalibrationError:
    """ECE and bound of N confidences and truths."""
    ece = expected_calibration_error(confidence, correct)
    return CalibrationError(ece, calibration_bound(confidence, seed=seed), len(confidence))


def node_calibration(edge_p: Tensor, labels: Tensor, matrices: TreeMatrices, *, seed: int) -> list[CalibrationError]:
    """Calibration of each edge's child, E of them, from N x E probabilities of the children given their decisions.

    A child's probability is compared with whether the true leaf lies below it, over those images alone whose true leaf
    lies below its parent: only they really stand before that decision.
    """
    below = matrices.membership[:-1].bool().T[labels]  # N x E
    out = []
    for edge in range(edge_p.shape[1]):
        siblings = matrices.decision == matrices.decision[edge]
        there = below[:, siblings].any(1)
        out.append(calibration_error(edge_p[there, edge], below[there, edge], seed=seed))
    return out


def decisions_on_paths(inference: TreeInference, labels: Tensor, matrices: TreeMatrices) -> tuple[Tensor, Tensor]:
    """Probability of every decision on the paths of N images, and whether it was right, end to end. A decision counts
    where the true leaf lies below its parent: past a wrong turn there is nothing right to choose."""
    edges = matrices.paths[inference.prediction]  # N x S
    right = matrices.membership[edges, labels.unsqueeze(1)] > 0
    before = functional.pad(right[:, :-1].long(), (1, 0), value=1).bool()
    counted = before & (edges != matrices.no_edge)
    probability = functional.pad(inference.edge_log_p.exp(), (0, 1)).gather(1, edges)
    return probability[counted], right[counted]


def accuracy_threshold(confidence: Tensor, correct: Tensor, *, level: float) -> float:
    """The confidence at which accuracy crosses `level`, from N answers: 0 where all are above it.

    It is where the isotonic regression of truth on confidence crosses the level, which is the minimum of the running
    sum of (truth - level) over answers in order of their confidence.
    """
    order = confidence.sort(stable=True)
    running = functional.pad((correct.double()[order.indices] - level).cumsum(0), (1, 0))
    ends = functional.pad(order.values[1:] > order.values[:-1], (1, 1), value=True)  # cut only between unequal answers
    cut = int(torch.where(ends, running, torch.inf).argmin())
    if cut == 0:
        return 0.0
    return float(order.values[cut]) if cut < len(order.values) else 1.0


def _errors(confidence: Tensor, correct: Tensor) -> Tensor:
    """ECE of S samples of truths, S x N, at the same N confidences."""
    bins = (confidence * BINS).long().clamp(0, BINS - 1)
    gaps = (correct - confidence) @ functional.one_hot(bins, BINS).to(confidence)  # S x BINS
    return gaps.abs().sum(1) / len(confidence)
