"""Explain a batch: pictures and questions in, frozen explanations out, in the same order. One forward pass a model.

This is the computation of the product. It knows no queue, no Redis, no web and no environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from shared.cards import ModelCard, short_name
from shared.methods import FEATURE_METHODS
from worker import maps
from worker.forward import SEED, Forward, Progress, Question, ignore
from worker.inputs import crop_box, to_tensors
from worker.methods import METHODS
from worker.methods.attribution import Attribution, Claim
from worker.models import Model
from worker.paths import DecisionPaths
from worker.proof import Proof, prove
from worker.tree import TreeMode
from worker.trust.familiarity import FamiliarityKind, familiarity
from worker.trust.warnings import confidence_warnings, familiarity_warnings, map_warnings, path_warnings, warning

TOP = 5
_TOLERANCE = {Claim.COMPLETE: 0.05}  # of an integral taken in steps; an exact map has the tolerance of its precision


@dataclass(frozen=True)
class Explanation:
    """One model's answer: the document of the contract and the raw maps and logits it names."""

    document: dict[str, Any]
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def tree_mode(card: ModelCard, option: str) -> TreeMode | None:
    """The mode that the option `tree` means for a model: auto is soft where it was tree-supervised, else marginal."""
    if option == "off" or card.hierarchy is None:
        return None
    if option == "auto":
        return TreeMode.SOFT if card.tree_supervised else TreeMode.MARGINAL
    return TreeMode(option)


@torch.no_grad()
def explain(
    model: Model, pictures: Sequence[Image.Image], questions: Sequence[Question], *, progress: Progress = ignore
) -> list[Explanation]:
    """Explain N upright RGB pictures, each with its own question."""
    inputs = to_tensors(pictures, model.card.input).to(model.device)
    forward = Forward.of(model, inputs, questions)
    boxes = [crop_box(*picture.size, model.card.input) for picture in pictures]
    return explain_forward(forward, questions, boxes, progress=progress)


def explain_forward(
    forward: Forward,
    questions: Sequence[Question],
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    progress: Progress,
) -> list[Explanation]:
    """The part behind the forward pass: maps, certificates, proof and decision paths."""
    attributions = _attributions(forward, questions, progress=progress)
    paths = _paths(forward, questions)
    out = []
    for i, (question, box) in enumerate(zip(questions, boxes, strict=True)):
        found = {method: attributions[method, i] for method in question.methods}
        raws = {method: attribution.maps[row] for method, (attribution, row) in found.items()}
        proofs = prove(forward, i, raws, progress=progress) if question.prove else {}
        entries = [_map_entry(forward, i, method, *found[method], proofs.get(method)) for method in question.methods]
        arrays = {_map_name(forward, method): raw.cpu().numpy() for method, raw in raws.items()}
        arrays[_map_name(forward, "logits")] = forward.logits[i].cpu().numpy()
        walked = paths[question.tree] if question.tree is not None else None
        path = walked.document(i, network_class=int(forward.order[i, 0])) if walked else None
        document = _document(forward, i, question, entries=entries, path=path, box=box)
        out.append(Explanation(document, arrays | (walked.arrays(i) if walked else {})))
    return out


def _document(
    forward: Forward,
    i: int,
    question: Question,
    *,
    entries: list[dict[str, Any]],
    path: dict[str, Any] | None,
    box: tuple[int, int, int, int],
) -> dict[str, Any]:
    """Image i's explanation as the contract shows it."""
    card = forward.model.card
    prediction, warnings = _prediction(forward, i)
    return {
        "model": card.name,
        "artifacts": {"logits": f"{_map_name(forward, 'logits')}.npy"},
        "prediction": prediction,
        "maps": entries,
        "decision_path": path,
        "input": {"box": list(box), "size": card.input.size},
        "warnings": [
            *question.warnings,
            *_contrast_warnings(forward, i, question),
            *warnings,
            *_path_warnings(forward, i, path),
            *(one for entry in entries for one in entry["warnings"]),
        ],
    }


def _attributions(
    forward: Forward, questions: Sequence[Question], *, progress: Progress
) -> dict[tuple[str, int], tuple[Attribution, int]]:
    """By method and image: the attribution of a batch, and the image's row in it. One call a method."""
    found: dict[tuple[str, int], tuple[Attribution, int]] = {}
    for method in METHODS:
        images = [i for i, question in enumerate(questions) if method in question.methods]
        if not images:
            continue
        watch = partial(progress, method)
        attribution = METHODS[method](forward.subject(images), seed=SEED, watch=watch)
        found |= {(method, i): (attribution, row) for row, i in enumerate(images)}
    return found


def _contrast_warnings(forward: Forward, i: int, question: Question) -> list[dict[str, Any]]:
    if question.contrast is None or forward.contrasts[i] is not None:
        return []
    card = forward.model.card
    name = short_name(card.classes[forward.targets[i]])
    text = f"{name} is what {card.name} predicts itself, so there is nothing to contrast it with."
    return [warning("contrast_is_target", text, **{"class": name})]


def _path_warnings(forward: Forward, i: int, path: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    card = forward.model.card
    measured = card.reliability.tree if card.reliability else None
    weak_below = measured.weak_below.get(path["mode"]) if measured else None
    return path_warnings(path, network=card.classes[int(forward.order[i, 0])], weak_below=weak_below)


def _paths(forward: Forward, questions: Sequence[Question]) -> dict[TreeMode, DecisionPaths]:
    modes = {question.tree for question in questions if question.tree is not None}
    return {mode: DecisionPaths.of(forward.model, forward.features, forward.logits, mode=mode) for mode in modes}


def _prediction(forward: Forward, i: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The prediction of the contract, and what a reader must know of it."""
    card, logits = forward.model.card, forward.logits[i]
    probabilities = logits.softmax(0)
    top = [
        {"index": k, "name": card.classes[k], "probability": float(probabilities[k]), "logit": float(logits[k])}
        for k in forward.order[i, :TOP].tolist()
    ]
    measured = card.reliability
    if measured is None:
        return {**top[0], "confidence": None, "top": top}, []
    confidence = float((logits / measured.temperature).softmax(0)[top[0]["index"]])
    kind = FamiliarityKind(measured.familiarity.kind)
    warnings = [
        *confidence_warnings(confidence, threshold=measured.confidence_threshold),
        *familiarity_warnings(float(familiarity(logits[None], kind=kind)), limit=measured.familiarity),
    ]
    return {**top[0], "confidence": confidence, "top": top}, warnings


def _map_name(forward: Forward, method: str) -> str:
    return f"{forward.model.card.name}.{method}"


def _map_entry(
    forward: Forward, i: int, method: str, attribution: Attribution, row: int, proof: Proof | None
) -> dict[str, Any]:
    """One map's entry in the document."""
    card, raw = forward.model.card, attribution.maps[row]
    target, contrast = forward.targets[i], forward.contrasts[i]
    name = _map_name(forward, method)
    proven = proof.to_dict() if proof else {"faithfulness": None, "stability": None, "agreement": None}
    return {
        "method": method,
        "claim": attribution.claim.value,
        "target": {"index": target, "name": card.classes[target]},
        "contrast": None if contrast is None else {"index": contrast, "name": card.classes[contrast]},
        "layer": card.layer if method in FEATURE_METHODS else "input",
        "grid": list(raw.shape),
        "unit": attribution.unit,
        "artifacts": {"raw": f"{name}.npy", "heatmap": f"{name}.heatmap.png", "overlay": f"{name}.overlay.png"},
        "range": [float(raw.min()), float(raw.max())],
        "exactness": _exactness(attribution, row, score=forward.score(i)),
        **proven,
        "warnings": [{**one, "method": method} for one in [*map_warnings(raw), *(proof.warnings() if proof else [])]],
    }


def _exactness(attribution: Attribution, row: int, *, score: float) -> dict[str, Any] | None:
    """The certificate of a map that claims to add up to the score; None for an approximate one."""
    if attribution.constants is None:
        return None
    constant, tolerance = float(attribution.constants[row]), _TOLERANCE.get(attribution.claim)
    return maps.certify(attribution.maps[row], constant=constant, score=score, tolerance=tolerance).to_dict()
