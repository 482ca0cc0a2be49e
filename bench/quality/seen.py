"""What figures on photographs say that were probably seen in training, and the list of them for the page."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Figure

PUBLISHED = 75.1  # top-1 in per cent on ImageNet's validation images, with TensorFlow's EfficientNet-Lite

BOUND = "The photographs were probably seen in training, so this is a bound from above."
"""Ends the meaning of a figure that would be worse on photographs that are new to the network."""

NO_MATTER = "The photographs were probably seen in training; this holds or fails on any image alike."
"""Ends the meaning of a figure that does not depend on it."""


def note(figures: Sequence[Figure]) -> str:
    """The part of the page about these figures; nothing where there are none."""
    bounds = [figure.name for figure in figures if figure.meaning.endswith(BOUND)]
    others = [figure.name for figure in figures if figure.meaning.endswith(NO_MATTER)]
    if not bounds and not others:
        return ""
    lines = [
        "## Photographs that were probably seen in training",
        "The full-size photographs are a public sample of ImageNet. EfficientNet-Lite0 was trained on ImageNet, and it "
        f"is right more often on this sample than the {PUBLISHED} % that are published for new images of the same "
        "classes. So it has probably seen many of these photographs in training. No other full-size photographs with "
        "labels are at hand. The figures of the first list are therefore bounds from above: on new photographs, expect "
        "the network to be right less often, and verdicts that go by it to be worse. Shares of care, guess and foreign "
        "would change with that in either direction. No temperature is fitted on these photographs.",
        _listed("Bounds from above", bounds),
        _listed("On the same photographs, but the same on any image", others),
    ]
    return "\n\n".join(line for line in lines if line)


def _listed(title: str, names: Sequence[str]) -> str:
    return "\n".join([f"{title}:", "", *(f"- {name}" for name in names)]) if names else ""
