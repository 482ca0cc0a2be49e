"""Exact class activation maps and their certificates, as pure functions of a feature map and a linear head.

Notation (CAM: arXiv 1512.04150): F is the N x D x h x w tensor that enters global
average pooling, W (K x D) and b (K) are the head. CAM_c = sum_d W_cd F_d, and mean(CAM_c) + b_c is the logit of c.
The same holds for any linear combination of head rows, hence for the mean score of a tree node and for contrasts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.answer.maps import Certificate

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
BACKWARD_ERROR = 1e-6  # at most, of sums in fp32: eight units in the last place of their terms


def pooled(features: Tensor) -> Tensor:
    """Global average pooling: N x D x h x w -> N x D."""
    return features.mean((2, 3))


def logits_of(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """N x K logits of the linear head, in the head's own precision."""
    return torch.addmm(bias, pooled(features), weight.T)


def linear_maps(features: Tensor, rows: Tensor) -> Tensor:
    """One map for each image: N x D x h x w features and N x D row vectors of the head -> N x h x w, in score units."""
    return weighted(features, rows.unsqueeze(1)).squeeze(1)


def class_maps(features: Tensor, weight: Tensor) -> Tensor:
    """The maps of all classes: N x K x h x w."""
    return weighted(features, weight)


def weighted(features: Tensor, rows: Tensor) -> Tensor:
    """Sums of a feature map's channels: N x D x h x w features, N x R x D or R x D weights -> N x R x h x w."""
    sums = torch.bmm(rows.expand(len(features), -1, -1), features.flatten(2))
    return sums.view(len(features), -1, *features.shape[2:])


def absolute_terms(features: Tensor, rows: Tensor) -> Tensor:
    """What is added up in the score of rows, in absolute values: N x D x h x w features and N x R x D or R x D rows
    -> N x R."""
    sizes = pooled(features.abs())
    if rows.dim() == 2:
        return sizes @ rows.abs().T
    return torch.bmm(rows.abs(), sizes.unsqueeze(2)).squeeze(2)


def certify(mean: float, *, terms: float, constant: float, score: float, tolerance: float) -> Certificate:
    """Check a map, by the mean of its cells, taken in double precision, against the score it claims to explain. `terms`
    are the absolute values that were added up in the score, without the constant. `tolerance` is relative to
    max(1, |score|); where rounding the terms may cost more, it is that much."""
    size, added = max(1.0, abs(score)), terms + abs(constant)
    missed = abs(mean + constant - score)
    allowed = max(tolerance, BACKWARD_ERROR * added / size)
    return Certificate(
        bias=constant,
        score=score,
        residual=missed / size,
        tolerance=allowed,
        backward_error=missed / added if added else 0.0,
        exact=missed / size <= allowed,
    )
