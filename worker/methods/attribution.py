"""What an attribution method is asked and what it answers: the vocabulary that all methods share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from torch import Tensor

from worker.algebra.score import Score

Watch = Callable[[int, int], None]
"""Told (done, total) between the chunks of a long computation. It may raise to stop it."""


class Network(Protocol):
    """A classifier in two parts, in evaluation mode, its parameters without gradients."""

    @property
    def trunk(self) -> Callable[[Tensor], Tensor]:
        """N x 3 x S x S -> N x D x h x w, the feature map that enters the head."""

    def logits(self, features: Tensor) -> Tensor:
        """N x D x h x w -> N x K."""


class LinearHead(Network, Protocol):
    """A network whose head is global average pooling and one linear layer, which makes exact maps possible."""

    @property
    def weight(self) -> Tensor:
        """K x D."""

    @property
    def bias(self) -> Tensor:
        """K."""


class Guarantee(StrEnum):
    """What a method promises of its map."""

    EXACT = "exact"  # mean(map) + constant is the score, by linearity
    COMPLETE = "complete"  # the same up to an integration error, with the score of a baseline as the constant
    APPROXIMATE = "approximate"  # neither


@dataclass(frozen=True)
class Subject:
    """N inputs whose scores are to be traced back."""

    network: Network
    inputs: Tensor  # N x 3 x S x S, normalised
    features: Tensor  # N x D x h x w, trunk(inputs); no inference tensor
    logits: Tensor  # N x K, of the features
    score: Score  # N questions

    @property
    def scores(self) -> Tensor:
        """N."""
        return self.score.of_logits(self.logits)


@dataclass(frozen=True)
class Attribution:
    """One raw map for each image, positive where the picture speaks for the target, in `unit`."""

    maps: Tensor  # N x h x w, on the method's own grid
    unit: str  # what the value of a cell is measured in
    guarantee: Guarantee
    constants: Tensor | None = None  # N, so that mean(map) + constant = score; None where the method is approximate
    terms: Tensor | None = None  # N, of an exact map: `worker.algebra.maps.absolute_terms` of its score


class MethodFunction(Protocol):
    """Every attribution method has this form. The same seed gives the same maps, whatever else is in the batch."""

    def __call__(self, subject: Subject, *, seed: int, watch: Watch) -> Attribution: ...
