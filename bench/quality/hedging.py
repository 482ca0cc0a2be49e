"""The search of Deng, Krause, Berg and Fei-Fei, "Hedging your bets" (CVPR 2012), to compare the sure answer with.

For each image it answers the node that maximises (information + multiplier) times probability. A larger multiplier
makes it answer more general nodes. The multiplier is found by bisection, so that a wanted share of answers is right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.algebra.tree import TreeMatrices

HALVINGS = 30
LARGEST = 2.0**40  # a multiplier with which only the root, which is always right, is answered


def information(matrices: TreeMatrices) -> Tensor:
    """E + 1: what each node says of the class, log2(K / classes below) / log2(K): 1 of a class, 0 of the root."""
    below = matrices.membership.double().sum(1)
    classes = torch.tensor(float(matrices.membership.shape[1]), dtype=torch.float64)
    return (classes / below).log2() / classes.log2()


def answers(probabilities: Tensor, gain: Tensor, *, multiplier: float) -> Tensor:
    """N nodes, from N x (E + 1) probabilities and the information of E + 1 nodes."""
    return ((gain + multiplier) * probabilities).argmax(1)


def fit_multiplier(probabilities: Tensor, gain: Tensor, right: Tensor, *, accuracy: float) -> float:
    """The least multiplier, as far as bisection finds it, with which at least `accuracy` (0..1) of the answers are
    right. `right` is N x (E + 1), true where a node would be a right answer to an image."""

    def reached(multiplier: float) -> bool:
        chosen = answers(probabilities, gain, multiplier=multiplier)
        return float(right.gather(1, chosen.unsqueeze(1)).double().mean()) >= accuracy

    if reached(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while not reached(high) and high < LARGEST:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def least(accuracies: Tensor, accuracy: float) -> int:
    """The first of some limits, from the least on, whose accuracy is as wanted; the best of them where none is."""
    reached = (accuracies >= accuracy).nonzero()
    return int(reached[0]) if len(reached) else int(accuracies.argmax())
