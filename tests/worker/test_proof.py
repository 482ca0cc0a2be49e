"""What is asked for beside the picture: proof of every map, by every method, measured on the picture itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from shared.cards.card import Registry
from shared.cards.methods import FEATURE_METHODS, LONG_METHODS, METHODS
from shared.options import RUNNER_UP
from tests.worker.asking import document, explain
from worker.engine.models import Model
from worker.explain.explanations import Explained
from worker.explain.forward import Question
from worker.explain.proof import SECOND, UNREPEATED
from worker.methods import rise
from worker.trust import faithfulness

PROVEN = ("cam", "layercam")  # of a map that may cross zero, and of one that may not


@pytest.fixture(scope="module")
def model(registry: Registry) -> Model:
    return Model.load(registry.get("nbdt-cifar10"))


@pytest.fixture(scope="module", autouse=True)
def sparing() -> Iterator[None]:
    """A fifth of the random maps and of the masks, which say as much of whether a figure is there and in its bounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rise, "MASKS", 192)
        patch.setattr(faithfulness, "RANDOM_MAPS", 4)
        yield


@pytest.fixture(scope="module")
def proven(model: Model, photos: dict[str, Image.Image]) -> Explained:
    """Chelsea by every method, with full proof."""
    return explain(model, [photos["chelsea"]], [Question(methods=METHODS, prove=True)])[0]


def entries(explanation: Explained) -> dict[str, dict[str, Any]]:
    return {entry["method"]: entry for entry in document(explanation)["maps"]}


def test_every_method_answers_with_a_finite_map_of_its_stated_grid(proven: Explained) -> None:
    assert tuple(entries(proven)) == METHODS
    for method, entry in entries(proven).items():
        raw = proven.maps[entry["artifacts"]["raw"].removesuffix(".npy")]
        assert np.isfinite(raw).all() and list(raw.shape) == entry["grid"]
        assert entry["range"] == [raw.min(), raw.max()]
        assert (entry["layer"] == "input") == (method not in FEATURE_METHODS)


def test_a_map_that_claims_to_add_up_to_the_score_does(proven: Explained) -> None:
    logit = document(proven)["prediction"]["logit"]
    claims = {}
    for method, entry in entries(proven).items():
        claims[method] = entry["claim"]
        if entry["claim"] == "approximate":
            assert entry["exactness"] is None
            continue
        raw = proven.maps[entry["artifacts"]["raw"].removesuffix(".npy")]
        check = entry["exactness"]
        assert check["exact"] and check["score"] == pytest.approx(logit)
        assert float(raw.mean()) + check["bias"] == pytest.approx(logit, rel=check["tolerance"])
    assert claims.pop("cam") == "exact" and claims.pop("integrated-gradients") == "complete"
    assert set(claims.values()) == {"approximate"}


def test_full_proof_says_of_every_map_how_faithful_stable_and_agreed_upon_it_is(proven: Explained) -> None:
    for method, entry in entries(proven).items():
        faithful = entry["faithfulness"]
        assert 0 <= faithful["percentile"] <= 100
        assert faithful["difference"] == pytest.approx(faithful["insertion"] - faithful["deletion"])
        assert (entry["stability"] is None) == (method in UNREPEATED)
        if entry["stability"]:
            assert -1 <= entry["stability"]["lowest"] <= 1
        assert entry["agreement"]["method"] == ("gradcam" if method == SECOND else SECOND)
        assert -1 <= entry["agreement"]["correlation"] <= 1
        for figure in ("faithfulness", "stability", "agreement"):
            assert entry[figure] is None or entry[figure]["text"].endswith(".")


def test_basic_trust_measures_nothing_more(model: Model, photos: dict[str, Image.Image]) -> None:
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    explanation = explain(model, [photos["chelsea"]], [Question()], progress=progress)[0]
    (entry,) = document(explanation)["maps"]
    assert entry["faithfulness"] is entry["stability"] is entry["agreement"] is None
    assert stages == []


def test_pictures_of_one_batch_may_ask_for_different_methods_targets_and_contrasts(
    model: Model, photos: dict[str, Image.Image]
) -> None:
    dog, airplane, ship = map(model.card.group, ("dog", "airplane", "ship"))
    questions = [
        Question(methods=("gradcam",), target=dog),
        Question(methods=("cam", "layercam"), contrast=RUNNER_UP),
        Question(methods=("layercam", "gradcam"), target=airplane, contrast=ship),
    ]
    pictures = [photos[name] for name in ("chelsea", "coffee", "rocket")]
    together = explain(model, pictures, questions)
    for picture, question, one in zip(pictures, questions, together, strict=True):
        alone = explain(model, [picture], [question])[0]
        assert [entry["method"] for entry in document(one)["maps"]] == list(question.methods)
        for name, raw in one.maps.items():
            assert np.abs(raw - alone.maps[name]).max() <= 1e-4 * np.ptp(alone.maps[name]) + 1e-6, name


def test_a_prediction_is_not_contrasted_with_itself(model: Model, photos: dict[str, Image.Image]) -> None:
    picture = photos["chelsea"]
    predicted = explain(model, [picture], [Question()])[0]
    cat = model.card.class_group(document(predicted)["prediction"]["index"])
    asked = explain(model, [picture], [Question(contrast=cat)])[0]
    assert document(asked)["maps"][0]["contrast"] is None
    assert [w["code"] for w in document(asked)["warnings"] if w["code"] == "contrast_is_target"]
    assert np.array_equal(asked.maps["nbdt-cifar10.cam"], predicted.maps["nbdt-cifar10.cam"])


@pytest.mark.parametrize("method", LONG_METHODS)
def test_a_long_method_says_how_far_it_is_and_can_be_stopped(
    method: str, model: Model, photos: dict[str, Image.Image]
) -> None:
    class Enough(Exception): ...

    heard: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        heard.append((stage, done, total))
        if len(heard) == 3:
            raise Enough

    with pytest.raises(Enough):
        explain(model, [photos["chelsea"]], [Question(methods=(method,))], progress=progress)
    assert [stage for stage, _, _ in heard] == [method] * 3
    assert heard[0][1] < heard[1][1] < heard[2][1] < heard[2][2]


def test_the_confidence_is_calibrated_with_the_temperature_of_the_card(
    model: Model, photos: dict[str, Image.Image]
) -> None:
    prediction = document(explain(model, [photos["chelsea"]], [Question()])[0])["prediction"]
    measured = model.card.calibration
    assert measured is not None
    logits = torch.tensor([entry["logit"] for entry in prediction["top"]])
    odds = (logits / measured.temperature).softmax(0)
    assert prediction["probability"] == pytest.approx(prediction["top"][0]["probability"])
    # Five classes hold nearly all of the mass, so their own softmax is an upper bound that is nearly reached.
    assert prediction["confidence"] == pytest.approx(float(odds[0]), abs=0.05)
    assert prediction["confidence"] <= float(odds[0]) + 1e-6


def test_a_picture_without_anything_gets_warnings_and_no_nan(model: Model) -> None:
    blank = Image.new("RGB", (64, 64), (124, 124, 124))
    whole = explain(model, [blank], [Question(methods=METHODS)])[0]
    proven = explain(model, [blank], [Question(methods=PROVEN, prove=True)])[0]
    for explanation in (whole, proven):
        assert all(np.isfinite(raw).all() for raw in explanation.maps.values())
        assert document(explanation)["warnings"]
