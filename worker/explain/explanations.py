"""Explain a batch: pictures and questions in, frozen explanations out, in the same order. One forward pass a model.

This is the computation of the product. It knows no queue, no Redis, no web and no environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from shared.answer.classes import ClassGroup
from shared.answer.explanation import Explanation, ExplanationArtifacts, InputView, SureAnswer
from shared.answer.maps import MapArtifacts, MapEntry
from shared.answer.path import WEAK_BELOW, DecisionPath
from shared.answer.record import Caution
from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from shared.cards.groups import Group
from shared.cards.methods import FEATURE_METHODS
from shared.images.seeing import Seen, crop_box
from shared.options import SURE
from worker.algebra.tree import TreeMode
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.explain.agreement import ModelAnswer
from worker.explain.evidence import Evidence, evidence
from worker.explain.forward import SEED, Forward, Question
from worker.explain.paths import DecisionPaths
from worker.explain.predictions import Predicted, predictions
from worker.explain.progress import OnProgress, ignore
from worker.explain.proof import Proof, prove
from worker.explain.sure import SureGroup
from worker.methods import METHODS
from worker.methods.attribution import Guarantee
from worker.trust.warnings import path_warnings, warning


@dataclass(frozen=True)
class Explained:
    """One model's explanation of one image: its record, the raw maps and logits that it names, the answer that verdicts
    go by, and the warnings."""

    explanation: Explanation
    answer: ModelAnswer
    maps: dict[str, NDArray[np.float32]]
    warnings: tuple[Caution, ...] = ()


def tree_mode(card: ModelCard, option: str) -> TreeMode | None:
    """The mode that the option `tree` means for a model: auto is soft where it was tree-supervised, else marginal."""
    if option == "off" or card.hierarchy is None:
        return None
    if option == "auto":
        return TreeMode.SOFT if card.tree_supervised else TreeMode.MARGINAL
    return TreeMode(option)


@torch.no_grad()
def explain(
    model: Model, photos: Sequence[Seen], questions: Sequence[Question], *, progress: OnProgress = ignore
) -> list[Explained]:
    """Explain N pictures, each with its own question."""
    inputs = to_tensors(photos, model.card.input).to(model.device)
    forward = Forward.of(model, inputs, questions)
    boxes = [crop_box(*photo.size, model.card.input) for photo in photos]
    return explain_forward(forward, questions, boxes, progress=progress)


def explain_forward(
    forward: Forward,
    questions: Sequence[Question],
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    progress: OnProgress,
) -> list[Explained]:
    """The part behind the forward pass: maps, certificates, proof and decision paths."""
    found = _evidence(forward, questions, progress=progress)
    predicted = predictions(forward.model.card, forward.logits, forward.order)
    paths = _paths(forward, questions)
    logits = forward.logits.cpu().numpy()
    out = []
    for i, (question, box) in enumerate(zip(questions, boxes, strict=True)):
        own = {method: found[method, i] for method in question.methods}
        raws = {method: one.raw for method, one in own.items()}
        proofs = prove(forward, i, raws, progress=progress) if question.prove else {}
        entries = [_map_entry(forward, i, method, one, proofs.get(method)) for method, one in own.items()]
        arrays = {_map_name(forward, method): one.values for method, one in own.items()}
        arrays[_map_name(forward, "logits")] = logits[i]
        walked = paths[question.tree] if question.tree is not None else None
        card = forward.model.card
        explanation = Explanation(
            model=card.name,
            artifacts=ExplanationArtifacts(logits=f"{_map_name(forward, 'logits')}.npy"),
            prediction=predicted[i].prediction,
            sure=_sure(forward.sure[i]),
            maps=tuple(entries),
            decision_path=_path(forward, i, walked) if walked else None,
            input=InputView(box=box, size=card.input.size),
        )
        detail = (box[2] - box[0]) / card.input.crop
        answer = ModelAnswer(card, logits[i], forward.predicted[i], predicted[i].confidence, forward.sure[i], detail)
        arrays |= walked.arrays(i) if walked else {}
        out.append(Explained(explanation, answer, arrays, _warnings(forward, i, question, predicted[i], explanation)))
    return out


def _warnings(
    forward: Forward, i: int, question: Question, predicted: Predicted, explanation: Explanation
) -> tuple[Caution, ...]:
    """All warnings about image i's explanation, those of its maps last."""
    return (
        *question.warnings,
        *_target_warnings(forward, i, question),
        *_contrast_warnings(forward, i, question),
        *predicted.warnings,
        *_path_warnings(forward, i, explanation.decision_path),
        *(one for entry in explanation.maps for one in entry.warnings),
    )


def _evidence(
    forward: Forward, questions: Sequence[Question], *, progress: OnProgress
) -> dict[tuple[str, int], Evidence]:
    """By method and image. One call a method, for all images that ask for it."""
    found: dict[tuple[str, int], Evidence] = {}
    for method in METHODS:
        images = [i for i, question in enumerate(questions) if method in question.methods]
        if not images:
            continue
        attribution = METHODS[method](forward.subject(images), seed=SEED, watch=partial(progress, method))
        of_images = evidence(attribution, [forward.scores[i] for i in images])
        found |= {(method, i): one for i, one in zip(images, of_images, strict=True)}
    return found


def _sure(found: SureGroup | None) -> SureAnswer | None:
    if found is None:
        return None
    group = found.group
    assert group.node is not None, "a sure answer is a node of a tree"
    return SureAnswer(
        node=group.node,
        name=group.name,
        short_name=short_name(group.name),
        probability=found.probability,
        index=group.index,
        class_count=len(group.classes),
        is_root=found.is_root,
        at=found.at,
    )


def _target_warnings(forward: Forward, i: int, question: Question) -> list[Caution]:
    """Where the sure answer was asked about, and is that the model vouches for nothing."""
    found = forward.sure[i]
    if question.target != SURE or found is None or not found.is_root:
        return []
    text = "The model vouches for no group of its classes, so the class that it predicts is explained instead."
    return [warning("nothing_sure", text, at=found.at)]


def _contrast_warnings(forward: Forward, i: int, question: Question) -> list[Caution]:
    if question.contrast is None or forward.contrasts[i] is not None:
        return []
    card = forward.model.card
    name = short_name(forward.targets[i].name)
    text = f"{name} is what {card.name} predicts itself, so there is nothing to contrast it with."
    return [warning("contrast_is_target", text, **{"class": name})]


def _path(forward: Forward, i: int, walked: DecisionPaths) -> DecisionPath:
    weak_below = _weak_below(forward.model.card, walked.mode)
    return walked.path(i, network_class=forward.predicted[i], weak_below=weak_below)


def _path_warnings(forward: Forward, i: int, path: DecisionPath | None) -> list[Caution]:
    return [] if path is None else path_warnings(path, network=forward.model.card.classes[forward.predicted[i]])


def _weak_below(card: ModelCard, mode: TreeMode) -> float:
    measured = card.calibration.tree if card.calibration else None
    return measured.weak_below.get(mode.value, WEAK_BELOW) if measured else WEAK_BELOW


def _paths(forward: Forward, questions: Sequence[Question]) -> dict[TreeMode, DecisionPaths]:
    modes = {question.tree for question in questions if question.tree is not None}
    return {mode: DecisionPaths.of(forward.model, forward.features, forward.logits, mode=mode) for mode in modes}


def _map_name(forward: Forward, method: str) -> str:
    return f"{forward.model.card.name}.{method}"


def _map_entry(forward: Forward, i: int, method: str, found: Evidence, proof: Proof | None) -> MapEntry:
    """One map's entry in the explanation."""
    card, contrast = forward.model.card, forward.contrasts[i]
    warnings = (*found.warnings, *(proof.warnings() if proof else ()))
    return MapEntry(
        method=method,
        claim=found.guarantee.value,
        target=_class_group(forward.targets[i]),
        contrast=None if contrast is None else _class_group(contrast),
        layer=card.layer if method in FEATURE_METHODS else "input",
        grid=found.values.shape,
        unit=found.unit,
        artifacts=MapArtifacts.named(_map_name(forward, method)),
        range=found.range,
        entropy_term=forward.entropies[i] if found.guarantee is Guarantee.EXACT else None,
        exactness=found.certificate,
        faithfulness=proof.faithfulness if proof else None,
        stability=proof.stability if proof else None,
        agreement=proof.agreement if proof else None,
        warnings=tuple(one.model_copy(update={"method": method}) for one in warnings),
    )


def _class_group(group: Group) -> ClassGroup:
    return ClassGroup(index=group.index, name=group.name, node=group.node)
