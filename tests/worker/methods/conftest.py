"""The shipped models, loaded once, and one photograph as each of them sees it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

from shared.cards.card import Registry
from worker.algebra.score import Score
from worker.engine.inputs import to_tensor
from worker.engine.models import Model
from worker.methods.attribution import Subject


@pytest.fixture(scope="session")
def load(registry: Registry) -> Callable[[str], Model]:
    models: dict[str, Model] = {}

    def get(name: str) -> Model:
        if name not in models:
            models[name] = Model.load(registry.get(name))
        return models[name]

    return get


@pytest.fixture(scope="session")
def ask(photos: dict[str, Image.Image]) -> Callable[..., Subject]:
    """The predicted classes of named photographs, asked of a model."""

    def of(model: Model, *names: str) -> Subject:
        inputs = torch.stack([to_tensor(photos[name], model.card.input) for name in names])
        features = model.features(inputs).clone()
        logits = model.logits(features)
        predicted = [[k] for k in logits.argmax(1).tolist()]
        score = Score.of(predicted, [[]] * len(names), class_count=len(model.bias))
        return Subject(model, inputs, features, logits, score)

    return of
