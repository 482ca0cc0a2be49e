"""Maps that are made of the feature map alone: CAM, and its relatives that weigh with gradients.

Each map is sum_d weight_d(x, y) F_d(x, y). The methods differ in the weight of a channel at a cell, and all but `cam`
keep only the positive part. The gradients are those of the score with respect to F: one step back through the head,
none through the trunk. On global average pooling and one linear layer with rows W they are W_d / N at each of the N
cells, so that Grad-CAM is the positive part of CAM / N.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from worker.maps import absolute_terms, linear_maps
from worker.methods.attribution import Attribution, Claim, LinearHead, Subject, Watch


def cam(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Class activation map (arXiv 1512.04150): the head's row is the weight; of a group of classes, the mean of their
    rows by their share of the group. The network must have a linear head."""
    head = cast(LinearHead, subject.network)
    weights = subject.score.weights(subject.logits)
    constants = weights @ head.bias + subject.score.entropies(subject.logits)
    found = linear_maps(subject.features, weights @ head.weight)
    terms = absolute_terms(subject.features, (weights.abs() @ head.weight.abs()).unsqueeze(1)).squeeze(1)
    return Attribution(found, "logit", Claim.EXACT, constants, terms)


def gradcam(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Grad-CAM (arXiv 1610.02391): a channel's weight is its mean gradient."""
    weights = _gradients(subject).mean((2, 3), keepdim=True)
    return Attribution(_positive_part(subject.features, weights), "logit", Claim.APPROXIMATE)


def gradcam_plus_plus(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Grad-CAM++ (arXiv 1710.11063): a channel's weight is the sum of its positive gradients g, each times alpha.

    Equation 19 with both sides divided by g^2: alpha = 1 / (2 + g sum_xy F). Its derivation supposes rectified
    features; so negative ones are left out of the sum, and alpha stays finite. The weights carry no unit.
    """
    gradients = _gradients(subject).relu()
    alpha = 1 / (2 + gradients * subject.features.relu().sum((2, 3), keepdim=True))
    weights = (alpha * gradients).sum((2, 3), keepdim=True)
    return Attribution(_positive_part(subject.features, weights), "arbitrary", Claim.APPROXIMATE)


def layercam(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """LayerCAM (IEEE TIP 2021, doi 10.1109/TIP.2021.3089943): the weight of a cell is its own positive gradient."""
    weights = _gradients(subject).relu()
    return Attribution(_positive_part(subject.features, weights), "logit", Claim.APPROXIMATE)


def _positive_part(features: Tensor, weights: Tensor) -> Tensor:
    """N x h x w, from features N x D x h x w and weights that broadcast to them."""
    return (weights * features).sum(1).relu()


def _gradients(subject: Subject) -> Tensor:
    """Of each image's score with respect to its features, N x D x h x w; also where the caller infers only."""
    with torch.inference_mode(False), torch.enable_grad():
        features = subject.features.detach().clone().requires_grad_()
        scores = subject.score.of_logits(subject.network.logits(features))
        return torch.autograd.grad(scores.sum(), features)[0]
