"""Grad-CAM++ (arXiv 1710.11063): positive gradients weigh a channel, each by how much it stands alone."""

from __future__ import annotations

from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.feature_gradients import feature_gradients, positive_part


def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Grad-CAM++ (arXiv 1710.11063): a channel's weight is the sum of its positive gradients g, each times alpha.

    Equation 19 with both sides divided by g^2: alpha = 1 / (2 + g sum_xy F). Its derivation supposes rectified
    features; so negative ones are left out of the sum, and alpha stays finite. The weights carry no unit.
    """
    gradients = feature_gradients(subject).relu()
    alpha = 1 / (2 + gradients * subject.features.relu().sum((2, 3), keepdim=True))
    weights = (alpha * gradients).sum((2, 3), keepdim=True)
    return Attribution(positive_part(subject.features, weights), "arbitrary", Guarantee.APPROXIMATE)
