"""Whether the maps of all groups of classes of a tree add up: those of its classes and of its inner nodes."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.cards.hierarchy import Hierarchy
from worker.algebra.maps import logits_of, weighted
from worker.algebra.score import Score


def all_groups(tree: Hierarchy) -> Score:
    """One question for each node of a tree."""
    groups = [tree.leaves_below[node.id] for node in tree.nodes]
    return Score.of(groups, [()] * len(groups), class_count=tree.class_count)


def residuals(features: Tensor, weight: Tensor, bias: Tensor, groups: Score, *, mapped: Tensor | None = None) -> Tensor:
    """G residuals of the groups' maps of one image, 1 x D x h x w features, relative to the score or 1.

    The maps are drawn of `mapped` where that is given: the control that must fail. The sum itself is taken in double
    precision.
    """
    logits = logits_of(features, weight, bias).expand(len(groups.target), -1)
    shares = groups.weights(logits)
    raw = weighted(features if mapped is None else mapped, shares @ weight)[0]  # G x h x w
    constants = shares @ bias + groups.entropies(logits)
    scores = groups.of_logits(logits).double()
    difference = raw.double().mean((1, 2)) + constants.double() - scores
    return difference.abs() / scores.abs().clamp(min=1)


def worst(features: Tensor, weight: Tensor, bias: Tensor, groups: Score, *, dtype: torch.dtype) -> float:
    """The largest residual of any group, of N x D x h x w features, computed in `dtype`."""
    head = weight.to(dtype), bias.to(dtype)
    return max(float(residuals(one.to(dtype), *head, groups).max()) for one in features.split(1))
