"""Verdicts: what to make of a model's answer, in one word and one sentence, and the limits that they go by.

The limits stand in the model's card. The rule is in `docs/verdicts.md`; `worker.explain.verdicts` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from shared.cards.calibration import Calibration

SURE_AT = 0.7  # where nothing better was measured
BELIEVE_AT = 0.85
GUESS_BELOW = 0.5


class Level(StrEnum):
    """From the best to the worst."""

    BELIEVE = "believe"  # the class is right
    CARE = "care"  # a wider group is right, or the class is right under a condition; the sentence says which
    GUESS = "guess"  # wrong more often than right
    FOREIGN = "foreign"  # the image shows none of the model's classes


@dataclass(frozen=True)
class Unfamiliar:
    """Below it, an image counts as unlike those that the model knows."""

    kind: str  # of the score, as in worker.trust.familiarity
    below: float


@dataclass(frozen=True)
class VerdictLimits:
    """The block `verdict` of a model card."""

    sure_at: float = SURE_AT  # probability that a sure answer holds at least
    believe_at: float = BELIEVE_AT  # probability of a single class from which it is believed without a second model
    guess_below: float = GUESS_BELOW  # confidence below which answers are more often wrong than right
    unfamiliar: Unfamiliar | None = None
    data: str | None = None  # what they were measured on; None: they are the general ones
    probably_seen: bool = False  # whether the network was probably trained on these very images

    def __post_init__(self) -> None:
        if not 0.5 < self.sure_at <= 1:
            raise ValueError(f"sure_at {self.sure_at} must be above 0.5 and at most 1")
        if not 0 < self.believe_at <= 1:
            raise ValueError(f"believe_at {self.believe_at} must be above 0 and at most 1")

    @classmethod
    def of(cls, block: Mapping[str, Any] | None, calibration: Calibration | None) -> VerdictLimits:
        """Those of a card: of its block, else of its calibration, else the general ones. Raises KeyError, TypeError or
        ValueError where the block is not readable."""
        known: dict[str, Any] = {}
        if calibration is not None:
            limit = calibration.familiarity
            known = {
                "guess_below": calibration.confidence_threshold,
                "unfamiliar": Unfamiliar(limit.kind, limit.threshold),
            }
        given = dict(block or {})
        if given.get("unfamiliar") is not None:
            given["unfamiliar"] = Unfamiliar(**given["unfamiliar"])
        return cls(**known | given)

    def to_dict(self) -> dict[str, Any]:
        """The block `verdict` of a card."""
        return asdict(self)


# One sentence a reason. Their parameters travel with each verdict, so that a page can say it in its reader's language.
SENTENCES: Mapping[str, str] = {
    "sure_class": "{name}: the model vouches for this class ({probability}).",
    "likely_class": "{name} is likely ({probability}), but not certain.",
    "confirmed": "{name}: the model vouches for this class ({probability}), and {other} agrees.",
    "sure_group": "{sure} ({probability}); which of its {kinds} kinds is less sure: {name} is the likeliest.",
    "nothing_sure": "The model vouches for no group of its classes; {name} ({confidence}) is only the likeliest.",
    "unsure_confirmed": "{name}: the model itself is not sure ({confidence}), but {other} agrees.",
    "narrow": "{sure}, if the image shows one of the model’s {count} classes; it has no way to say that it shows none.",
    "shared_group": "No more than {shared}: {other} answers {theirs}, not {name}.",
    "unclear": "{name}, perhaps: {other} neither confirms it nor rules it out.",
    "peer_contradicts": "{name}, perhaps: {other} answers {theirs}.",
    "unfamiliar_sure": "{name}, perhaps: the image is unlike those that the model knows.",
    "small_image": "{name}, perhaps: the image has too few pixels for this model, which looks at {size} × {size}.",
    "low_confidence": "A guess: {name} has {confidence}, and of answers as unsure as this more were wrong than right.",
    "contradicted": "Probably wrong: {other} answers {theirs}, which is not {name}.",
    "none_of_its_classes": "None of its {count} classes: {other} answers {theirs}.",
    "outside": "None of its {count} classes: {other} gives all of them together {share}.",
    "unfamiliar": "Nothing the model knows: the image is unlike those that it was made for.",
}
