"""Familiarity of a picture: does the network answer as strongly as it does to pictures of its training classes?

Two scores, both higher for familiar pictures: the energy of arXiv 2010.03759 at temperature 1 with its sign turned,
log-sum-exp of the logits, and the largest logit. Which one serves a model, and where its threshold lies, is measured
on held-out pictures and written in the model's card.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from worker.trust.correlation import average_ranks


class FamiliarityKind(StrEnum):
    ENERGY = "energy"
    MAX_LOGIT = "max-logit"


def familiarity(logits: Tensor, *, kind: FamiliarityKind) -> Tensor:
    """N scores in units of the logits, N x K, high where the picture is like those of the training."""
    return logits.logsumexp(1) if kind is FamiliarityKind.ENERGY else logits.max(1).values


def familiarity_threshold(scores: Tensor, *, false_alarm: float) -> float:
    """The score below which a share `false_alarm` of N held-out pictures lies."""
    return float(scores.double().quantile(false_alarm))


def separation(familiar: Tensor, foreign: Tensor) -> float:
    """Area under the ROC curve, 0..1: how often a familiar picture scores higher than a foreign one, ties half."""
    ranks = average_ranks(torch.cat([familiar, foreign])[None])[0, : len(familiar)]
    above = float(ranks.sum()) - len(familiar) * (len(familiar) + 1) / 2
    return above / (len(familiar) * len(foreign))
