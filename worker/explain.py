"""Explain a batch: pictures and questions in, frozen explanations out, in the same order. One forward pass a model.

This is the computation of the product. It knows no queue, no Redis, no web and no environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from shared.cards import ModelCard
from worker import maps
from worker.inputs import crop_box, to_tensor
from worker.models import Model
from worker.paths import DecisionPaths
from worker.tree import TreeMode
from worker.trust.warnings import map_warnings

TOP = 5
RUNNER_UP = "runner-up"


@dataclass(frozen=True)
class Question:
    """What is asked of one model about one picture. None as target means: the predicted class."""

    target: int | None = None
    contrast: int | str | None = None  # a class index, or RUNNER_UP
    tree: TreeMode | None = TreeMode.MARGINAL  # None: no decision path
    warnings: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Explanation:
    """One model's answer: the document of the contract and the raw maps it names."""

    document: dict[str, Any]
    maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def tree_mode(card: ModelCard, option: str) -> TreeMode | None:
    """The mode that the option `tree` means for a model: auto is soft where it was tree-supervised, else marginal."""
    if option == "off" or card.hierarchy is None:
        return None
    if option == "auto":
        return TreeMode.SOFT if card.tree_supervised else TreeMode.MARGINAL
    return TreeMode(option)


@torch.inference_mode()
def explain(model: Model, pictures: Sequence[Image.Image], questions: Sequence[Question]) -> list[Explanation]:
    """Explain N upright RGB pictures, each with its own question."""
    inputs = torch.stack([to_tensor(picture, model.card.input) for picture in pictures])
    features = model.features(inputs)
    logits = model.logits(features)
    boxes = [crop_box(*picture.size, model.card.input) for picture in pictures]
    return explain_features(model, features, logits, questions, boxes)


def explain_features(
    model: Model,
    features: Tensor,
    logits: Tensor,
    questions: Sequence[Question],
    boxes: Sequence[tuple[int, int, int, int]],
) -> list[Explanation]:
    """The part behind the forward pass: targets, maps, certificates and decision paths."""
    probabilities = logits.softmax(1)
    order = logits.sort(dim=1, descending=True, stable=True).indices
    targets, contrasts = _choose(order, questions)
    rows, constants = _target_rows(model, targets, contrasts)
    raw = maps.linear_maps(features, rows)
    paths = _paths(model, features, logits, questions)
    out = []
    for i, question in enumerate(questions):
        contrast = contrasts[i]
        score = logits[i, targets[i]] - (logits[i, contrast] if contrast is not None else 0.0)
        certificate = maps.certify(raw[i], constant=float(constants[i]), score=float(score))
        name = f"{model.card.name}.cam"
        document: dict[str, Any] = {
            "model": model.card.name,
            "prediction": _prediction(model.card, logits[i], probabilities[i], order[i]),
            "maps": [_map_entry(model.card, name, raw[i], targets[i], contrast, certificate)],
            "decision_path": None,
            "input": {"box": list(boxes[i]), "size": model.card.input.size},
            "warnings": [*question.warnings, *map_warnings(raw[i])],
        }
        arrays = {name: raw[i].cpu().numpy()}
        if question.tree is not None:
            path = paths[question.tree]
            document["decision_path"] = path.document(i, network_class=int(order[i, 0]))
            arrays |= path.arrays(i)
        out.append(Explanation(document, arrays))
    return out


def _choose(order: Tensor, questions: Sequence[Question]) -> tuple[list[int], list[int | None]]:
    """Target and contrast class of each image. The runner-up is the best class that is not the target."""
    targets = [int(order[i, 0]) if q.target is None else q.target for i, q in enumerate(questions)]
    contrasts: list[int | None] = []
    for i, question in enumerate(questions):
        if question.contrast == RUNNER_UP:
            contrasts.append(int(order[i, 0] if int(order[i, 0]) != targets[i] else order[i, 1]))
        else:
            contrasts.append(None if question.contrast is None else int(question.contrast))
    return targets, contrasts


def _target_rows(model: Model, targets: list[int], contrasts: list[int | None]) -> tuple[Tensor, Tensor]:
    """Head rows (N x D) and biases (N) of target minus contrast."""
    rows, constants = model.weight[targets].clone(), model.bias[targets].clone()
    for i, contrast in enumerate(contrasts):
        if contrast is not None:
            rows[i] -= model.weight[contrast]
            constants[i] -= model.bias[contrast]
    return rows, constants


def _paths(
    model: Model, features: Tensor, logits: Tensor, questions: Sequence[Question]
) -> dict[TreeMode, DecisionPaths]:
    modes = {question.tree for question in questions if question.tree is not None}
    return {mode: DecisionPaths.of(model, features, logits, mode=mode) for mode in modes}


def _prediction(card: ModelCard, logits: Tensor, probabilities: Tensor, order: Tensor) -> dict[str, Any]:
    top = [
        {
            "index": int(k),
            "name": card.classes[int(k)],
            "probability": float(probabilities[k]),
            "logit": float(logits[k]),
        }
        for k in order[:TOP]
    ]
    return {**top[0], "top": top}


def _map_entry(
    card: ModelCard, name: str, raw: Tensor, target: int, contrast: int | None, certificate: maps.Certificate
) -> dict[str, Any]:
    return {
        "method": "cam",
        "target": {"index": target, "name": card.classes[target]},
        "contrast": None if contrast is None else {"index": contrast, "name": card.classes[contrast]},
        "layer": card.layer,
        "grid": list(raw.shape),
        "artifacts": {"raw": f"{name}.npy", "heatmap": f"{name}.heatmap.png", "overlay": f"{name}.overlay.png"},
        "range": [float(raw.min()), float(raw.max())],
        "exactness": certificate.to_dict(),
        "warnings": [],
    }
