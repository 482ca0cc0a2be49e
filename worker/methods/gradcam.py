"""Grad-CAM (arXiv 1610.02391): the mean gradient of a channel is its weight."""

from __future__ import annotations

from worker.methods.attribution import Attribution, Guarantee, Subject, Watch
from worker.methods.feature_gradients import feature_gradients, positive_part


def attribute(subject: Subject, *, seed: int, watch: Watch) -> Attribution:
    """Grad-CAM (arXiv 1610.02391): a channel's weight is its mean gradient."""
    weights = feature_gradients(subject).mean((2, 3), keepdim=True)
    return Attribution(positive_part(subject.features, weights), "logit", Guarantee.APPROXIMATE)
