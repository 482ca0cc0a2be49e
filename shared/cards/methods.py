"""The attribution methods: what each is called, how it works, and what it needs of a network. The computation of a
method is `attribute` of its module in `worker/methods/`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# What a network's head is: what makes the logits of its last feature map.
POOLED_LINEAR = "pooled-linear"  # global average pooling and one linear layer, which makes class activation maps exact
OTHER_HEAD = "other"
NO_FEATURE_MAP = "none"  # there is no map of the image near the end, as in a vision transformer


class Needs(IntEnum):
    """What a method needs of a network. Each implies what stands before it."""

    NOTHING = 0  # it looks at inputs and logits alone
    FEATURE_MAP = 1
    LINEAR_HEAD = 2


@dataclass(frozen=True)
class Method:
    """One method. `label` and `hint`, how it works in a few words, are English; pages translate them by their codes."""

    name: str
    label: str
    hint: str
    needs: Needs = Needs.NOTHING
    is_long: bool = False  # it takes many passes through the network

    @property
    def module(self) -> str:
        """Its module in `worker/methods/`."""
        return self.name.replace("-", "_").replace("++", "_plus_plus")

    @property
    def label_code(self) -> str:
        return f"method_{self.name}"

    @property
    def hint_code(self) -> str:
        return f"method_{self.name}_hint"


CATALOGUE = (
    Method("cam", "Class activation map", "exact: it adds up to the network’s score", Needs.LINEAR_HEAD),
    Method("gradcam", "Grad-CAM", "weighs the last layer by its mean gradient", Needs.FEATURE_MAP),
    Method("gradcam++", "Grad-CAM++", "the same, for several instances of a class", Needs.FEATURE_MAP),
    Method("layercam", "LayerCAM", "weighs each cell by its own gradient", Needs.FEATURE_MAP),
    Method(
        "scorecam",
        "Score-CAM",
        "shows the network one channel at a time; slow",
        Needs.FEATURE_MAP,
        is_long=True,
    ),
    Method(
        "integrated-gradients",
        "Integrated gradients",
        "pixel by pixel; accounts for the score; slow",
        is_long=True,
    ),
    Method("occlusion", "Occlusion", "hides a square at a time; slow", is_long=True),
    Method("rise", "RISE", "hides random parts, many times; slow", is_long=True),
)
"""All methods, the best first."""

BY_NAME = {method.name: method for method in CATALOGUE}
METHODS = tuple(BY_NAME)
LONG_METHODS = tuple(method.name for method in CATALOGUE if method.is_long)
FEATURE_METHODS = tuple(method.name for method in CATALOGUE if method.needs)  # their cells are the feature map's

_HAS = {POOLED_LINEAR: Needs.LINEAR_HEAD, OTHER_HEAD: Needs.FEATURE_MAP, NO_FEATURE_MAP: Needs.NOTHING}
_REASONS = {
    OTHER_HEAD: "its last feature map is followed by more than global average pooling and one linear layer, "
    "so none of its maps is exact",
    NO_FEATURE_MAP: "no feature map was found near its end",
}
HEADS = tuple(_HAS)


def methods_for(head: str) -> tuple[str, ...]:
    """The methods that can explain a network with such a head."""
    return tuple(method.name for method in CATALOGUE if method.needs <= _HAS[head])


def reason_of(head: str) -> str | None:
    """Why some methods cannot explain a network with such a head; None where all can."""
    return _REASONS.get(head)
