"""What the methods share that weigh a feature map by gradients.

Each map is sum_d weight_d(x, y) F_d(x, y), of which the positive part is kept. The gradients are those of the score
with respect to F: one step back through the head, none through the trunk. On global average pooling and one linear
layer with rows W they are W_d / N at each of the N cells, so that Grad-CAM is the positive part of CAM / N.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.methods.attribution import Subject


def feature_gradients(subject: Subject) -> Tensor:
    """Of each image's score with respect to its features, N x D x h x w; also where the caller infers only."""
    with torch.inference_mode(False), torch.enable_grad():
        features = subject.features.detach().clone().requires_grad_()
        scores = subject.score.of_logits(subject.network.logits(features))
        return torch.autograd.grad(scores.sum(), features)[0]


def positive_part(features: Tensor, weights: Tensor) -> Tensor:
    """N x h x w, from features N x D x h x w and weights that broadcast to them."""
    return (weights * features).sum(1).relu()
