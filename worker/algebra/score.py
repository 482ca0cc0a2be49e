"""What is asked about an image, as a function of its logits: the score of a group of classes, or of two compared.

The score of a group is the log-sum-exp of its logits; of a single class that is its logit. So it is a sum of the logits
with weights r = softmax over the group, plus their entropy: log-sum-exp(z) = sum r z + H(r). Of two groups the score is
the difference, which is their log-odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Score:
    """One question for each of N images."""

    target: Tensor  # N x K, true for the classes that are explained; at least one in each row
    contrast: Tensor  # N x K, true for those that they are contrasted with; a row without any asks for no contrast

    @classmethod
    def of(
        cls,
        targets: Sequence[Sequence[int]],
        contrasts: Sequence[Sequence[int]],
        *,
        class_count: int,
        device: torch.device | None = None,
    ) -> Score:
        """From the class indices of each image's target and contrast; an empty contrast asks for none."""
        return cls(*(_membership(groups, class_count).to(device) for groups in (targets, contrasts)))

    def __getitem__(self, images: slice | list[int]) -> Score:
        """The questions of some of the images."""
        return Score(self.target[images], self.contrast[images])

    def of_logits(self, logits: Tensor) -> Tensor:
        """N scores of N x K logits; a single question may be put to many rows of logits."""
        own, other = _logsumexp(logits, self.target), _logsumexp(logits, self.contrast)
        return torch.where(self.contrast.any(1), own - other, own)

    def weights(self, logits: Tensor) -> Tensor:
        """The gradient of the scores at N x K logits: r of the target less r of the contrast, N x K."""
        return _shares(logits, self.target) - _shares(logits, self.contrast)

    def entropies(self, logits: Tensor) -> Tensor:
        """H(r) of the target less that of the contrast, N, in nats; 0 where both are single classes."""
        return _entropy(_shares(logits, self.target)) - _entropy(_shares(logits, self.contrast))

    def probabilities(self, logits: Tensor) -> Tensor:
        """N: the softmax of the target's classes together, less that of the contrast's."""
        shares = logits.softmax(1)
        return (shares * self.target).sum(1) - (shares * self.contrast).sum(1)


def _membership(groups: Sequence[Sequence[int]], class_count: int) -> Tensor:
    member = torch.zeros(len(groups), class_count, dtype=torch.bool)
    places = [(row, k) for row, classes in enumerate(groups) for k in classes]
    if places:
        member[tuple(zip(*places, strict=True))] = True
    return member


def _logsumexp(logits: Tensor, member: Tensor) -> Tensor:
    """-inf of an empty row. Of one class, its logit as it is."""
    return logits.masked_fill(~member, -torch.inf).logsumexp(1)


def _shares(logits: Tensor, member: Tensor) -> Tensor:
    """Softmax within each row's classes; zeros in an empty row."""
    within = logits.masked_fill(~member, -torch.inf).softmax(1)
    return torch.where(member, within, 0.0)


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(shares).sum(1)
    return entropy
