"""The attribution methods by name, and what each needs of a network. The computations are `worker.methods`."""

from __future__ import annotations

METHODS = ("cam", "gradcam", "gradcam++", "layercam", "scorecam", "integrated-gradients", "occlusion", "rise")
LONG_METHODS = ("scorecam", "integrated-gradients", "occlusion", "rise")  # many passes through the network each
FEATURE_METHODS = ("cam", "gradcam", "gradcam++", "layercam", "scorecam")  # their cells are the feature map's

# What a network's head is: what makes the logits of its last feature map.
POOLED_LINEAR = "pooled-linear"  # global average pooling and one linear layer, which makes class activation maps exact
OTHER_HEAD = "other"
NO_FEATURE_MAP = "none"  # there is no map of the picture near the end, as in a vision transformer

_IMPOSSIBLE = {POOLED_LINEAR: (), OTHER_HEAD: ("cam",), NO_FEATURE_MAP: FEATURE_METHODS}
_REASONS = {
    OTHER_HEAD: "its last feature map is followed by more than global average pooling and one linear layer, "
    "so none of its maps is exact",
    NO_FEATURE_MAP: "no feature map was found near its end",
}
HEADS = tuple(_IMPOSSIBLE)


def methods_for(head: str) -> tuple[str, ...]:
    """The methods that can explain a network with such a head."""
    return tuple(method for method in METHODS if method not in _IMPOSSIBLE[head])


def reason_of(head: str) -> str | None:
    """Why some methods cannot explain a network with such a head; None where all can."""
    return _REASONS.get(head)
