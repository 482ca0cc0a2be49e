"""One flat row for one picture: predictions, paths, certificates, trust figures and errors, for tables and the page.

Columns of a model begin with its name and a colon, those of a map with the model, its method and a colon after each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.answer.answer import ModelAgreement
from shared.answer.explanation import Explanation, SureAnswer, Verdict
from shared.answer.maps import MapEntry
from shared.answer.path import Step
from shared.cards.card import Registry
from shared.cards.class_names import classes_named, short_name
from shared.cards.hierarchy import Hierarchy
from shared.cards.verdicts import Level
from shared.report.evidence import share_outside
from shared.report.outcome import Outcome

Row = dict[str, Any]
_NO_FIGURES = ("text", "reason", "threshold", "method", "random_maps")
# How suspicious a picture is, at most, for each reason; the reasons add up.
WRONG, INEXACT, DISAGREES, WEAK, UNSURE, GUESS, FOREIGN = 4.0, 8.0, 2.0, 1.0, 1.0, 2.0, 2.0


@dataclass(frozen=True)
class Known:
    """What is known of one model beside its answers; its tree where this machine has it."""

    classes: tuple[str, ...]
    hierarchy: Hierarchy | None = None
    methods: tuple[str, ...] = ()

    def class_of(self, label: str | None) -> int | None:
        """The class that a label names; None where it names none, or several."""
        found = classes_named(self.classes, label or "")
        return found[0] if len(found) == 1 else None


def known_models(registry: Registry, names: tuple[str, ...]) -> dict[str, Known]:
    """The models of this machine's registry, by name."""
    cards = [registry.cards[name] for name in names if name in registry.cards]
    return {card.name: Known(card.classes, card.hierarchy, card.methods) for card in cards}


def to_row(outcome: Outcome, models: Mapping[str, Known]) -> Row:
    """The image's row. `models` says which classes a label may name."""
    image, answer = outcome.image, outcome.answer
    row: Row = {
        "path": outcome.path,
        "status": outcome.status.value,
        "error_code": outcome.error.code if outcome.error else None,
        "error_message": outcome.error.message if outcome.error else None,
        "label": outcome.label,
        "sha256": image.sha256 if image else None,
        "width": image.width if image else None,
        "height": image.height if image else None,
        "job": outcome.job,
    }
    for explanation in outcome.explanations:
        name = explanation.model
        codes = sorted({warning.code for warning in answer.warnings_of(name)}) if answer else []
        part = _of_model(explanation, outcome.label, models.get(name)) | {"warnings": " ".join(codes)}
        part |= _suspicion(part, exact=_holds(explanation))
        row |= {f"{name}:{column}": value for column, value in part.items()}
        for entry in explanation.maps:
            figures = _of_map(entry, outcome, explanation)
            row |= {f"{name}:{entry.method}:{column}": value for column, value in figures.items()}
    row["agreement"] = "; ".join(map(_of_pair, answer.agreement)) or None if answer else None
    scores = [value for column, value in row.items() if column.endswith(":suspicion")]
    row["suspicion"] = max(scores, default=None)
    return row


def _of_pair(pair: ModelAgreement) -> str:
    return f"{', '.join(pair.models)}: {pair.relation}"


def _of_model(explanation: Explanation, label: str | None, known: Known | None) -> Row:
    prediction, path = explanation.prediction, explanation.decision_path
    truth = known.class_of(label) if known else None
    row: Row = {
        "prediction": prediction.name,
        "index": prediction.index,
        "probability": prediction.probability,
        "confidence": prediction.confidence,
        "logit": prediction.logit,
        "correct": None if truth is None else truth == prediction.index,
        "tree_prediction": None,
        "agrees": None,
        "path": None,
        "path_nodes": None,
        "decision_probabilities": None,
        "weakest": None,
        "weakest_probability": None,
        "leaves_at": None,
        "leaves_to": None,
        **_sure(explanation.sure, truth, known),
        **_verdict(explanation.verdict),
    }
    if path is None or not path.steps:
        return row
    steps, weakest = path.steps, path.steps[path.weakest]
    row |= {
        "tree_prediction": path.prediction.name,
        "agrees": path.agrees_with_network,
        "path": ", ".join(f"{short_name(step.name)} ({step.probability:.2%})" for step in steps),
        "path_nodes": " ".join(step.node for step in steps),
        "decision_probabilities": [step.probability for step in steps],
        "weakest": weakest.name,
        "weakest_probability": weakest.probability,
    }
    if truth is not None and known is not None and known.hierarchy is not None:
        row |= _departure(steps, known.hierarchy, truth)
    return row


def _sure(sure: SureAnswer | None, truth: int | None, known: Known | None) -> Row:
    """The sure answer, and whether the true class is below it. An earlier version stored none."""
    tree = known.hierarchy if known else None
    below = tree.leaves_below.get(sure.node) if sure and tree else None
    return {
        "sure": sure.name if sure else None,
        "sure_node": sure.node if sure else None,
        "sure_index": sure.index if sure else None,
        "sure_probability": sure.probability if sure else None,
        "sure_class_count": sure.class_count if sure else None,
        "sure_is_root": sure.is_root if sure else None,
        "sure_correct": None if truth is None or below is None else truth in below,
    }


def _verdict(verdict: Verdict | None) -> Row:
    if verdict is None:
        return {"verdict": None, "verdict_reasons": None}
    return {"verdict": verdict.level, "verdict_reasons": " ".join(verdict.reasons) or None}


def _departure(steps: Sequence[Step], tree: Hierarchy, truth: int) -> Row:
    """The decision at which the path leaves that to the true class, and what it chose instead; none where it stays."""
    right = tree.path_to(truth)
    for number, step in enumerate(steps):
        if number >= len(right) or step.node != right[number]:
            return {"leaves_at": "root" if number == 0 else steps[number - 1].name, "leaves_to": step.name}
    return {}


def _of_map(entry: MapEntry, outcome: Outcome, explanation: Explanation) -> Row:
    certificate = entry.exactness
    row: Row = {
        "target": entry.target.name,
        "exact": certificate.exact if certificate else None,
        "residual": certificate.residual if certificate else None,
        "tolerance": certificate.tolerance if certificate else None,
        "least": entry.range[0],
        "most": entry.range[1],
        "outside_box": None,
    }
    proofs = {"faithfulness": entry.faithfulness, "stability": entry.stability, "agreement": entry.agreement}
    for proof, figures in proofs.items():
        for figure, value in figures or ():
            if figure not in _NO_FIGURES:
                row[f"{proof}_{figure}"] = value
    if outcome.box is not None:
        row["outside_box"] = share_outside(entry.raw(outcome.maps), outcome.box, seen=explanation.input.box)
    return row


def _holds(explanation: Explanation) -> bool:
    """Whether every certificate does, of maps and of decisions."""
    return all(entry.exactness.exact for _, entry in explanation.all_maps() if entry.exactness)


def _suspicion(part: Row, *, exact: bool) -> Row:
    """How suspicious one model's answer is, and why."""
    codes = part["warnings"].split()
    confidence = part["probability"] if part["confidence"] is None else part["confidence"]
    weakest = part["weakest_probability"]
    reasons = [
        ("inexact", not exact, INEXACT),
        ("wrong", part["correct"] is False, WRONG),
        ("disagrees", part["agrees"] is False, DISAGREES),
        ("weak_decision", "weak_decision" in codes, 0.0),
        ("low_confidence", "low_confidence" in codes, 0.0),
        ("guess", part["verdict"] == Level.GUESS, GUESS),
        ("foreign", part["verdict"] == Level.FOREIGN, FOREIGN),
    ]
    score = sum(weight for _, holds, weight in reasons if holds) + UNSURE * (1 - confidence)
    score += WEAK * (1 - weakest) if weakest is not None else 0.0
    return {"suspicion": round(score, 6), "reasons": " ".join(reason for reason, holds, _ in reasons if holds)}
