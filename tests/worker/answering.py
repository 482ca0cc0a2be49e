"""Answers of real models to images that nobody took: how the probability lies over their classes is given by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from shared.cards.card import ModelCard
from worker.algebra.tree import TreeMatrices
from worker.explain.agreement import ModelAnswer
from worker.explain.sure import SureGroup, sure_nodes

FAMILIAR = 20.0  # log-sum-exp of the logits, above the limit of every card


def answer(
    card: ModelCard, shares: Mapping[str, float], *, energy: float = FAMILIAR, confidence: float | None = None
) -> ModelAnswer:
    """The answer with these probabilities for some classes or nodes, by name, and the rest of 1 for all others alike.

    What a node gets is spread evenly over its classes.
    """
    return answer_to(card, logits_of(card, shares) + energy, confidence=confidence)


def answer_to(card: ModelCard, logits: Tensor, *, confidence: float | None = None) -> ModelAnswer:
    """The answer that K logits make; its confidence is their softmax where it is not given."""
    predicted = int(logits.argmax())
    told = float(logits.softmax(0)[predicted]) if confidence is None else confidence
    return ModelAnswer(card, logits.numpy(), predicted, told, _sure(card, logits))


def logits_of(card: ModelCard, shares: Mapping[str, float]) -> Tensor:
    """Logarithms of the probabilities."""
    probabilities = torch.zeros(card.class_count)
    named = set[int]()
    for word, share in shares.items():
        group = card.group(word)
        assert group is not None, f"{card.name} has no {word}"
        probabilities[list(group.classes)] += share / len(group.classes)
        named.update(group.classes)
    others = [k for k in range(card.class_count) if k not in named]
    probabilities[others] = (1 - sum(shares.values())) / max(1, len(others))
    return probabilities.clamp(min=1e-12).log()


def _sure(card: ModelCard, logits: Tensor) -> SureGroup | None:
    tree, at = card.hierarchy, card.limits.sure_at
    if tree is None:
        return None
    matrices = _matrices(tree)
    found = sure_nodes(logits[None], matrices, at=at)
    edge = int(found.edges)
    return SureGroup(card.node_group(tree.ends[edge]), float(found.probabilities), at, is_root=edge == matrices.no_edge)


_matrices = cache(TreeMatrices.of)  # of ImageNet's tree they take a twentieth of a second
