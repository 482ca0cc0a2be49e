"""Class activation maps (arXiv 1512.04150): the head's row of a class weighs the channels of the feature map."""

from __future__ import annotations

from typing import cast

from worker.algebra.maps import absolute_terms, linear_maps
from worker.methods.attribution import Attribution, Guarantee, LinearHead, Subject, Watch


def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Class activation map (arXiv 1512.04150): the head's row is the weight; of a group of classes, the mean of their
    rows by their share of the group. The network must have a linear head."""
    head = cast(LinearHead, subject.network)
    weights = subject.score.weights(subject.logits)
    asked = weights.any(0).nonzero().squeeze(1)  # the classes that have a part in any score: few, mostly
    weights, rows, bias = weights[:, asked], head.weight[asked], head.bias[asked]
    constants = weights @ bias + subject.score.entropies(subject.logits)
    found = linear_maps(subject.features, weights @ rows)
    terms = (weights.abs() * absolute_terms(subject.features, rows)).sum(1)
    return Attribution(found, "logit", Guarantee.EXACT, constants, terms)
