"""Answers to whole jobs: the options of each picture become questions to each model, the explanations one result."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import options as job_options
from shared.cards import ModelCard, Registry
from shared.jobs import JobOptions
from shared.results import Result
from worker.agreement import Agreement, agreements
from worker.asked import Asked
from worker.explain import Explanation, explain, tree_mode
from worker.forward import SEED, Progress, Question, ignore
from worker.models import Model
from worker.shelf import Shelf
from worker.verdicts import verdict


def answer(shelf: Shelf, batch: Sequence[Asked], *, progress: Progress = ignore) -> list[Result]:
    """Answer a batch, one forward pass for every version of a model that is named in it. Results come in the order
    asked."""
    began = time.perf_counter()
    explanations: list[dict[str, Explanation]] = [{} for _ in batch]
    cards = [asked.cards or shelf.cards(asked.options.models, {}) for asked in batch]
    plans = [job_options.plan(asked.options, Registry(found)) for asked, found in zip(batch, cards, strict=True)]
    named = {(name, card.fingerprint): card for found in cards for name, card in found.items()}
    for key in sorted(named):
        name, card = key[0], named[key]
        members = [i for i, found in enumerate(cards) if name in found and found[name].fingerprint == card.fingerprint]
        model = shelf.load(card)
        questions = [_question(model, plans[i][name], batch[i].options) for i in members]
        found = explain(model, [batch[i].photo for i in members], questions, progress=progress)
        for i, explanation in zip(members, found, strict=True):
            explanations[i][name] = explanation
    compute_ms = (time.perf_counter() - began) * 1000
    return [_result(shelf, asked, cards[i], explanations[i], compute_ms) for i, asked in enumerate(batch)]


def _question(model: Model, plan: job_options.Plan, options: JobOptions) -> Question:
    tree = tree_mode(model.card, options.tree)
    return Question(plan.target, plan.contrast, tree, plan.methods, options.trust == "full", plan.warnings)


def _result(
    shelf: Shelf,
    asked: Asked,
    cards: Mapping[str, ModelCard],
    explanations: Mapping[str, Explanation],
    compute_ms: float,
) -> Result:
    ordered = [explanations[name] for name in asked.options.models]
    agreed = agreements([one.answer for one in ordered], shelf.kinships)
    maps: dict[str, NDArray[np.float32]] = {name: raw for one in ordered for name, raw in one.maps.items()}
    document: dict[str, Any] = {
        "explanations": [_judged(one, agreed) for one in ordered],
        "agreement": [one.to_dict() for one in agreed],
        "differences": None,
        "provenance": provenance([shelf.load(card) for card in cards.values()], asked.options),
        "timings": {"compute_ms": round(compute_ms, 3)},
        "warnings": [{**w, "model": one.document["model"]} for one in ordered for w in one.document["warnings"]],
    }
    return Result(document, maps)


def _judged(explanation: Explanation, agreed: Sequence[Agreement]) -> dict[str, Any]:
    """An explanation as the contract shows it, with its verdict; its warnings are the whole result's."""
    document = {key: value for key, value in explanation.document.items() if key != "warnings"}
    return document | {"verdict": verdict(explanation.answer, agreed).to_dict()}


def provenance(models: Sequence[Model], options: JobOptions) -> dict[str, Any]:
    """All that is needed to get the same result again from these models."""
    return {
        "models": {model.card.name: _identity(model) for model in models},
        "options": options.to_dict(),
        "seed": SEED,
        "versions": versions(),
    }


def _identity(model: Model) -> dict[str, Any]:
    """What a model's answers depend on."""
    card, spec = model.card, model.card.input
    return {
        "version": card.fingerprint,
        "weights_sha256": card.weights.sha256,
        "input": {
            "resize": spec.resize,
            "crop": spec.crop,
            "size": spec.size,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
        },
        "hierarchy": card.hierarchy.origin if card.hierarchy else None,
        "precision": model.precision,
    }


@cache
def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy", "pillow")}
