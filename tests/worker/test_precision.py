"""Precision: bf16 only where it was measured to change nothing, with certificates as exact as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from shared.cards.card import Bf16Gate, ModelCard, Registry
from shared.images.decode import Photo
from shared.jobs import JobOptions
from tests.shared.cards import card, write_card
from training.precision import compare, write
from worker.engine import precision
from worker.engine.model_cache import ModelCache
from worker.engine.precision import chooses_bf16
from worker.explain.answers import answer
from worker.explain.query import Query

CPU = torch.device("cpu")
GOOD = Bf16Gate(pictures=1000, accuracy_change=0.1, flips=3, widest_flip=0.04, rank_correlation=0.995)
POOR = [
    replace(GOOD, accuracy_change=-0.2),
    replace(GOOD, widest_flip=0.05),
    replace(GOOD, rank_correlation=0.98),
]


@pytest.mark.parametrize("gate", [None, GOOD, *POOR])
@pytest.mark.parametrize("hardware", [True, False])
def test_a_model_runs_in_bf16_only_where_the_hardware_has_it_and_its_card_allows_it_unless_told(
    gate: Bf16Gate | None, hardware: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computes_bf16", lambda device: hardware)
    gated = replace(card("pets", "cat", "dog"), bf16=gate)
    assert chooses_bf16(gated, asked="auto", device=CPU) == (hardware and gate is GOOD)
    assert chooses_bf16(gated, asked="bf16", device=CPU)
    assert not chooses_bf16(gated, asked="fp32", device=CPU)


def test_in_bf16_every_certificate_holds_as_in_fp32_and_the_result_says_so(
    registry: Registry, photos: dict[str, Image.Image]
) -> None:
    options = JobOptions(models=("nbdt-cifar10",))
    results = {
        asked: answer(ModelCache(registry, precision=asked), [Query(Photo.whole(photos["chelsea"]), options)])[
            0
        ].document
        for asked in ("fp32", "bf16")
    }
    for asked, document in results.items():
        assert document["provenance"]["models"]["nbdt-cifar10"]["precision"] == asked
        explanation = document["explanations"][0]
        maps = [*explanation["maps"], *(step["map"] for step in explanation["decision_path"]["steps"])]
        assert all(entry["exactness"]["exact"] and entry["exactness"]["tolerance"] == 1e-5 for entry in maps)
    logits = [document["explanations"][0]["prediction"]["logit"] for document in results.values()]
    assert logits[0] == pytest.approx(logits[1], rel=0.02)
    assert logits[0] != logits[1]


def test_the_gate_finds_what_a_rounding_changed() -> None:
    fp32 = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.05, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.0]])
    bf16 = fp32.clone()
    bf16[1, 0] = 1.1
    gate = compare(fp32, bf16, torch.tensor([0, 1, 1, 2]), [1.0, 0.9, 0.999])
    margin = fp32[1].softmax(0)[1] - fp32[1].softmax(0)[0]
    assert (gate.flips, gate.accuracy_change, gate.pictures) == (1, -25.0, 4)
    assert gate.widest_flip == pytest.approx(float(margin))
    assert gate.rank_correlation == pytest.approx(0.999)
    assert not gate.passed
    assert compare(fp32, fp32, torch.tensor([0, 1, 1, 2]), [1.0]).passed


def test_a_card_keeps_the_outcome_of_the_gate_and_all_else_that_it_says(tmp_path: Path) -> None:
    path = write_card(tmp_path)
    before = json.loads(path.read_text("utf-8"))
    write(path, GOOD)
    write(path, POOR[0])
    assert ModelCard.load(path, cache=tmp_path).bf16 == POOR[0]
    after = json.loads(path.read_text("utf-8"))
    assert after.pop("bf16")["passed"] is False
    assert after == before
