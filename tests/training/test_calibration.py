"""Measuring a model's calibration: planted logits give planted figures, and a card keeps all else it says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from shared.cards.calibration import Calibration
from shared.cards.card import ModelCard, Registry
from shared.settings import REPOSITORY
from tests.shared.calibration import CALIBRATION
from tests.shared.cards import card
from training.calibration import answers, main, measure, own_and_foreign, rounded, write
from training.pictures import Pictures
from worker.engine.models import Model

SHIPPED = ("resnet18-photos100", "nbdt-cifar10")


def calibrated(n: int, k: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Logits and labels drawn from their own softmax."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, k, generator=rng)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]


@pytest.fixture(scope="module")
def nbdt() -> ModelCard:
    return ModelCard.load(REPOSITORY / "models" / "nbdt-cifar10" / "card.json", cache=Path("/nonexistent"))


@pytest.fixture(scope="module")
def measured(nbdt: ModelCard) -> Calibration:
    """Of a model that is perfectly calibrated once its logits are halved."""
    logits, labels = calibrated(6000, 10, seed=0)
    foreign = {"flat": 0.1 * torch.randn(500, 10), "like": 2 * calibrated(500, 10, seed=1)[0]}
    return measure(2 * logits, labels, foreign, card=nbdt, description="planted", seed=0)


def test_a_planted_temperature_and_a_planted_threshold_are_found(measured: Calibration) -> None:
    assert measured.temperature == pytest.approx(2, rel=0.1)
    assert measured.confidence_threshold == pytest.approx(0.5, abs=0.06)
    assert measured.accuracy_below is not None and measured.accuracy_below < 0.5
    assert (measured.fitted_on, measured.measured_on) == (3000, 3000)


def test_calibration_brings_the_error_down_to_the_bound(measured: Calibration) -> None:
    assert measured.ece_raw > 2 * measured.ece_bound
    assert measured.ece_calibrated < 1.2 * measured.ece_bound


def test_flat_answers_are_foreign_and_like_answers_are_not(measured: Calibration) -> None:
    detection = measured.familiarity.detection
    assert detection["flat"].auroc > 0.99 and detection["flat"].detected > 0.95
    assert detection["like"].auroc == pytest.approx(0.5, abs=0.05)
    assert measured.familiarity.false_alarm_measured == pytest.approx(0.05, abs=0.02)
    other = measured.familiarity.detection_of_other_kind
    assert sum(d.auroc for d in detection.values()) >= sum(d.auroc for d in other.values())


def test_the_tree_is_measured_in_its_own_mode_and_a_model_without_one_is_not(
    measured: Calibration, nbdt: ModelCard
) -> None:
    assert measured.tree is not None and nbdt.hierarchy is not None
    assert (measured.tree.mode, measured.tree.nodes) == ("soft", len(nbdt.hierarchy.edges))
    assert measured.tree.temperatures is not None
    assert set(measured.tree.temperatures) == {node.id for node in nbdt.hierarchy.decisions}
    assert set(measured.tree.weak_below) == {"soft", "hard", "marginal"}
    assert all(0 <= value <= 1 for value in measured.tree.weak_below.values())
    logits, labels = calibrated(200, 3, seed=2)
    bare = measure(logits, labels, {"like": logits}, card=card("pets", "a", "b", "c"), description="", seed=0)
    assert bare.tree is None


def test_in_marginal_mode_the_networks_temperature_calibrates_the_nodes(nbdt: ModelCard) -> None:
    logits, labels = calibrated(4000, 10, seed=0)
    unsupervised = replace(nbdt, tree_supervised=False)
    tree = measure(2 * logits, labels, {"like": logits}, card=unsupervised, description="", seed=0).tree
    assert tree is not None and (tree.mode, tree.temperatures) == ("marginal", None)
    assert tree.nodes_within_bound >= 14 > tree.nodes_within_bound_raw


def test_one_class_is_measured_without_a_nan() -> None:
    logits = torch.randn(40, 1)
    found = measure(
        logits, torch.zeros(40, dtype=torch.long), {"like": logits}, card=card("one", "a"), description="", seed=0
    )
    assert (found.temperature, found.ece_calibrated, found.confidence_threshold) == (1, 0, 0)
    assert "NaN" not in json.dumps(found.to_dict())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_card_keeps_its_format_and_all_else_it_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    shutil.copy(REPOSITORY / "models" / name / "card.json", path)
    before = path.read_text("utf-8")
    assert json.dumps(json.loads(before), indent=1, ensure_ascii=False) + "\n" == before
    for _ in range(2):
        write(path, Calibration.from_dict(CALIBRATION))
    after = json.loads(path.read_text("utf-8"))
    assert after.pop("reliability") == CALIBRATION
    assert after == {key: value for key, value in json.loads(before).items() if key != "reliability"}
    assert path.read_text("utf-8").startswith(before[:200])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_models_state_their_calibration(name: str, registry: Registry) -> None:
    found = registry.get(name).calibration
    assert found is not None and found.tree is not None
    assert found.ece_calibrated < found.ece_raw
    assert found.temperature > 0 and 0 < found.confidence_threshold < 1
    assert found.familiarity.false_alarm_measured == pytest.approx(found.familiarity.false_alarm, abs=0.03)


def test_logits_are_those_of_the_pictures_as_they_are_served(registry: Registry) -> None:
    model = Model.load(registry.get("nbdt-cifar10"))
    images = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.card.input.mean, model.card.input.std))
    expected = model.logits(model.features((images.float() / 255 - mean) / std))
    assert torch.allclose(answers(model, images, "three"), expected, atol=1e-5)


def some_pictures(*names: str) -> Pictures:
    return Pictures(torch.zeros(6, 3, 4, 4, dtype=torch.uint8), torch.arange(6) % len(names), names)


def test_the_other_data_set_and_noise_are_foreign() -> None:
    held_out = {"pets": some_pictures("a", "b"), "tools": some_pictures("c", "d")}
    own, foreign = own_and_foreign(card("m", "c", "d"), held_out, seed=0)
    assert own == "tools" and list(foreign) == ["pets", "noise"]
    assert torch.equal(foreign["pets"], held_out["pets"].images)
    assert foreign["noise"].shape[1:] == (3, 4, 4) and foreign["noise"].float().std() > 60


def test_a_model_of_other_classes_is_refused_with_a_reason() -> None:
    held_out = {"pets": some_pictures("a", "b"), "tools": some_pictures("c", "d")}
    with pytest.raises(click.ClickException, match="m has other classes than pets and tools"):
        own_and_foreign(card("m", "e", "f"), held_out, seed=0)


def test_fractions_are_rounded_and_nothing_else() -> None:
    assert rounded({"a": {"b": 0.123456}, "n": 3, "none": None, "text": "x"}) == {
        "a": {"b": 0.1235},
        "n": 3,
        "none": None,
        "text": "x",
    }


def test_the_command_teaches_itself() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "MODEL" in shown and "--data" in shown
