"""Answers to whole jobs: the options of each picture become questions to each model, the explanations one result."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from shared import options as job_options
from shared.answer.answer import Answer, InputRecipe, ModelIdentity, Provenance
from shared.cards.card import ModelCard, Registry
from shared.jobs import JobOptions
from shared.results import Result
from worker.engine.model_cache import ModelCache
from worker.engine.models import Model
from worker.explain.agreement import agreements
from worker.explain.explanations import Explained, explain, tree_mode
from worker.explain.forward import SEED, Question
from worker.explain.progress import OnProgress, ignore
from worker.explain.query import Query
from worker.explain.verdicts import verdict


def answer(model_cache: ModelCache, batch: Sequence[Query], *, progress: OnProgress = ignore) -> list[Result]:
    """Answer a batch, one forward pass for every version of a model that is named in it. Results come in the order
    asked."""
    began = time.perf_counter()
    explained: list[dict[str, Explained]] = [{} for _ in batch]
    cards = [query.cards or model_cache.cards(query.options.models, {}) for query in batch]
    plans = [job_options.plan(query.options, Registry(found)) for query, found in zip(batch, cards, strict=True)]
    named = {(name, card.fingerprint): card for found in cards for name, card in found.items()}
    for key in sorted(named):
        name, card = key[0], named[key]
        members = [i for i, found in enumerate(cards) if name in found and found[name].fingerprint == card.fingerprint]
        model = model_cache.load(card)
        questions = [_question(model, plans[i][name], batch[i].options) for i in members]
        found = explain(model, [batch[i].photo for i in members], questions, progress=progress)
        for i, one in zip(members, found, strict=True):
            explained[i][name] = one
    compute_ms = (time.perf_counter() - began) * 1000
    return [_result(model_cache, query, cards[i], explained[i], compute_ms) for i, query in enumerate(batch)]


def _question(model: Model, plan: job_options.Plan, options: JobOptions) -> Question:
    tree = tree_mode(model.card, options.tree)
    return Question(plan.target, plan.contrast, tree, plan.methods, options.trust == "full", plan.warnings)


def _result(
    model_cache: ModelCache,
    query: Query,
    cards: Mapping[str, ModelCard],
    explained: Mapping[str, Explained],
    compute_ms: float,
) -> Result:
    ordered = [explained[name] for name in query.options.models]
    agreed = agreements([one.answer for one in ordered], model_cache.kinships)
    maps: dict[str, NDArray[np.float32]] = {name: raw for one in ordered for name, raw in one.maps.items()}
    found = Answer(
        explanations=tuple(
            one.explanation.model_copy(update={"verdict": verdict(one.answer, agreed)}) for one in ordered
        ),
        agreement=tuple(one.record() for one in agreed),
        provenance=provenance([model_cache.load(card) for card in cards.values()], query.options),
        timings={"compute_ms": round(compute_ms, 3)},
        warnings=tuple(
            warning.model_copy(update={"model": one.explanation.model}) for one in ordered for warning in one.warnings
        ),
    )
    return Result(found, maps)


def provenance(models: Sequence[Model], options: JobOptions) -> Provenance:
    """All that is needed to get the same result again from these models."""
    identities = {model.card.name: _identity(model) for model in models}
    return Provenance(models=identities, options=options, seed=SEED, versions=versions())


def _identity(model: Model) -> ModelIdentity:
    card = model.card
    return ModelIdentity(
        version=card.fingerprint,
        weights_sha256=card.weights.sha256,
        input=InputRecipe.from_dict(card.input.to_dict()),
        hierarchy=card.hierarchy.origin if card.hierarchy else None,
        precision=model.precision,
    )


@cache
def versions() -> dict[str, str]:
    """The versions of what answers depend on, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in ("torch", "numpy", "pillow")}
