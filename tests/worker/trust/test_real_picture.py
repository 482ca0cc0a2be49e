"""Trust in the map of a real photograph by a shipped network: every measurement has its number and its sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from PIL import Image
from torch import Tensor

from shared.cards.card import Registry
from worker.algebra import maps
from worker.engine.inputs import to_tensor
from worker.engine.models import Model
from worker.trust.agreement import agreement
from worker.trust.faithfulness import faithfulness
from worker.trust.stability import stability
from worker.trust.warnings import map_warnings


@dataclass(frozen=True)
class Cat:
    """A cat, and its class map by the small shipped network."""

    model: Model
    inputs: Tensor
    target: int

    def raw(self, inputs: Tensor) -> Tensor:
        features = self.model.features(inputs)
        return maps.linear_maps(features, self.model.weight[[self.target] * len(inputs)])

    def score(self, inputs: Tensor) -> Tensor:
        return self.model.logits(self.model.features(inputs)).softmax(1)[:, self.target]


@pytest.fixture(scope="module")
def cat(registry: Registry, photos: dict[str, Image.Image]) -> Cat:
    card = registry.get("nbdt-cifar10")
    index = card.class_index("cat")
    assert index is not None
    return Cat(Model.load(card), to_tensor(photos["chelsea"], card.input)[None], index)


def test_faithfulness_lies_within_its_bounds_and_hiding_all_takes_the_answer_away(cat: Cat) -> None:
    found = faithfulness(cat.score, cat.inputs[0], cat.raw(cat.inputs)[0], seed=0, watch=lambda done, total: None)
    assert found.percentile is not None and 0 <= found.percentile <= 100
    assert found.whole is not None and found.hidden is not None and found.hidden < found.whole / 2
    assert "NaN" not in json.dumps(found.to_dict())


def test_stability_and_agreement_have_numbers_and_the_healthy_map_no_warning(cat: Cat) -> None:
    raw = cat.raw(cat.inputs)
    found = stability(cat.raw, cat.inputs, raw, std=cat.model.card.input.std, seed=0)[0]
    assert found.noise is not None and found.noise > 0.5
    assert found.lowest is not None and -1 <= found.lowest <= 1
    assert agreement(
        raw[0], raw[0].repeat_interleave(4, 0).repeat_interleave(4, 1), method="rise"
    ).correlation == pytest.approx(1)
    assert map_warnings(raw) == [[]]


def test_an_even_picture_gives_no_nan(cat: Cat) -> None:
    even = torch.zeros_like(cat.inputs)
    raw = cat.raw(even)
    found = faithfulness(cat.score, even[0], raw[0], seed=0, watch=lambda done, total: None)
    changed = stability(cat.raw, even, raw, std=cat.model.card.input.std, seed=0)[0]
    assert found.percentile in (None, 50.0)  # hiding an even picture behind its blur changes nothing
    assert "NaN" not in json.dumps([found.to_dict(), changed.to_dict(), map_warnings(raw)])
