"""What a network answers, as the contract shows it: its first classes, its confidence, and what to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from shared.answer.classes import RankedClass
from shared.answer.explanation import Prediction
from shared.answer.record import Caution
from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from worker.trust.familiarity import FamiliarityKind, familiarity
from worker.trust.warnings import confidence_warnings, familiarity_warnings

TOP = 5


@dataclass(frozen=True)
class Predicted:
    """The prediction of one image, and what a reader must know of it."""

    prediction: Prediction
    warnings: list[Caution]

    @property
    def confidence(self) -> float:
        """Calibrated where the model is, else the softmax."""
        calibrated = self.prediction.confidence
        return self.prediction.probability if calibrated is None else calibrated


def predictions(card: ModelCard, logits: Tensor, order: Tensor) -> list[Predicted]:
    """The predictions of a batch, of its N x K logits and the classes from the best down.

    All are made at once here and in what follows a forward pass: each look at a tensor takes its time.
    """
    best = order[:, :TOP]
    measures = (best, logits.softmax(1).gather(1, best), logits.gather(1, best))
    tops = [
        [
            RankedClass(index=k, **_names(card.classes[k]), probability=probability, logit=logit)
            for k, probability, logit in zip(*row, strict=True)
        ]
        for row in zip(*(measure.tolist() for measure in measures), strict=True)
    ]
    measured = card.calibration
    if measured is None:
        return [Predicted(_prediction(top, None), []) for top in tops]
    confidences = (logits / measured.temperature).softmax(1).gather(1, best[:, :1])[:, 0].tolist()
    familiarities = familiarity(logits, kind=FamiliarityKind(measured.familiarity.kind)).tolist()
    return [
        Predicted(
            _prediction(top, confidence),
            [
                *confidence_warnings(confidence, threshold=measured.confidence_threshold),
                *familiarity_warnings(familiar, limit=measured.familiarity),
            ],
        )
        for top, confidence, familiar in zip(tops, confidences, familiarities, strict=True)
    ]


def _prediction(top: list[RankedClass], confidence: float | None) -> Prediction:
    return Prediction(**dict(top[0]), confidence=confidence, top=tuple(top))


def _names(name: str) -> dict[str, str]:
    return {"name": name, "short_name": short_name(name)}
