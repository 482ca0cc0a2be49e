"""The first page's images with the real models: what each model answers and what to make of it, as a reader sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cards.card import Registry
from shared.images.decode import Limits, decode_reduced
from shared.jobs import JobOptions
from shared.options import SURE
from shared.settings import Settings
from web.pages import samples, verdicts
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

# By sample, the headline and the verdict of each default model. That of the horse is the mistake that its label names.
WANTED = {
    "chelsea": [("domestic cat, most likely tiger cat", "care"), ("cat", "believe")],
    "coffee": [("espresso", "believe"), ("no sure answer: automobile is only the likeliest", "foreign")],
    "motorcycle": [("wheeled vehicle, most likely moped", "care"), ("vehicle, most likely airplane", "foreign")],
    "hubble": [
        ("no sure answer: flatworm is only the likeliest", "foreign"),
        ("no sure answer: bird is only the likeliest", "foreign"),
    ],
    "horse": [("canine, most likely Mexican hairless", "care"), ("horse", "care")],
}


@pytest.fixture(scope="module")
def model_cache(registry: Registry) -> ModelCache:
    return ModelCache(registry)


def test_every_sample_is_looked_at() -> None:
    assert set(samples.SAMPLES) == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_the_verdicts_on_a_sample_are_right(model_cache: ModelCache, name: str) -> None:
    settings = Settings(home=Path("/nonexistent"))
    data, _ = samples.read(name)
    query = Query(decode_reduced(data, Limits.of(settings)), JobOptions(settings.default_models, target=SURE))
    explanations = answer(model_cache, [query])[0].answer.explanations
    said = [(verdicts.headline(one), one.verdict.level) for one in explanations if one.verdict]
    assert said == WANTED[name]
