"""The attribution methods by name, and what each needs of a network. The computations are `worker.methods`."""

from __future__ import annotations

METHODS = ("cam", "gradcam", "gradcam++", "layercam", "scorecam", "integrated-gradients", "occlusion", "rise")
LONG_METHODS = ("scorecam", "integrated-gradients", "occlusion", "rise")  # many passes through the network each
FEATURE_METHODS = ("cam", "gradcam", "gradcam++", "layercam", "scorecam")  # their cells are the feature map's
POOLED_LINEAR = "pooled-linear"  # the head that makes class activation maps exact
_NEED_POOLED_LINEAR = ("cam",)


def methods_for(head: str) -> tuple[str, ...]:
    """The methods that can explain a network with such a head."""
    return tuple(method for method in METHODS if head == POOLED_LINEAR or method not in _NEED_POOLED_LINEAR)
