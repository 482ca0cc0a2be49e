"""Differences between two results: of predictions, probabilities, maps and paths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.results import Result
from tests.shared.answers import answer_of
from worker.explain.differences import differences, shift, with_differences

CLASSES = ("cat", "dog", "car", "ship", "bird", "frog")


def result(
    logits: list[float],
    raw: NDArray[np.float32],
    *,
    nodes: tuple[str, ...] | None = ("animal", "cat"),
    model: str = "m",
    contrast: dict[str, object] | None = None,
) -> Result:
    """One model's answer. The best five of six classes are in the document, as for any model."""
    values = np.array(logits, np.float32)
    odds = np.exp(values - values.max())
    order = [int(k) for k in np.argsort(-values, kind="stable")]
    top = [
        {"index": k, "name": CLASSES[k], "probability": float(odds[k] / odds.sum()), "logit": logits[k]}
        for k in order[:5]
    ]
    entry = {
        "method": "cam",
        "target": {"index": order[0], "name": CLASSES[order[0]]},
        "contrast": contrast,
        "artifacts": {"raw": f"{model}.cam.npy"},
    }
    steps = [{"node": f"n-{node}", "name": node, "probability": 0.9} for node in nodes or ()]
    explanation: dict[str, Any] = {
        "model": model,
        "prediction": {**top[0], "top": top},
        "maps": [entry],
        "decision_path": {"steps": steps} if nodes else None,
        "input": {"box": [100, 0, 400, 300]},
    }
    document = {"explanations": [explanation], "warnings": [], "differences": None}
    return Result(answer_of(document), {f"{model}.cam": raw, f"{model}.logits": values})


def peak(row: int, column: int) -> NDArray[np.float32]:
    raw = np.full((6, 6), -1.0, np.float32)
    raw[row, column] = 2.0
    return raw


SURE_OF_CAT = [5.0, 1.0, 0.5, 0.0, -1.0, -2.0]
SURE_OF_FROG = [1.0, 0.0, 0.5, -1.0, -2.0, 5.0]


def test_a_changed_prediction_is_shown_with_every_class_of_both_best_fives() -> None:
    before = result(SURE_OF_CAT, peak(1, 1))
    after = result(SURE_OF_FROG, peak(1, 3), nodes=("animal", "frog"))
    (model,) = differences(before, after, parent="p").to_dict()["models"]
    assert model["prediction"]["changed"]
    assert model["prediction"]["before"]["name"] == "cat" and model["prediction"]["after"]["name"] == "frog"
    assert [entry["name"] for entry in model["top"]] == ["cat", "dog", "car", "ship", "bird", "frog"]
    for key in ("before", "after"):
        assert sum(entry[key] for entry in model["top"]) == pytest.approx(1.0)
    by_name = {entry["name"]: entry for entry in model["top"]}
    assert by_name["cat"]["before"] == pytest.approx(model["prediction"]["before"]["probability"], abs=1e-6)
    assert by_name["frog"]["after"] == pytest.approx(model["prediction"]["after"]["probability"], abs=1e-6)
    assert by_name["frog"]["before"] < 0.01
    assert model["decision_path"] == {
        "changed": True,
        "step": 1,
        "before": {"node": "n-cat", "name": "cat", "probability": 0.9},
        "after": {"node": "n-frog", "name": "frog", "probability": 0.9},
    }


def test_the_same_answer_twice_differs_in_nothing() -> None:
    one = result(SURE_OF_CAT, np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32))
    (model,) = differences(one, one, parent="p").to_dict()["models"]
    assert not model["prediction"]["changed"]
    assert all(entry["before"] == entry["after"] for entry in model["top"])
    assert model["maps"] == [{"method": "cam", "same_target": True, "correlation": pytest.approx(1), "shift": [0, 0]}]
    assert model["decision_path"] == {"changed": False, "step": None, "before": None, "after": None}


def test_a_map_that_moved_says_how_far_in_pixels_of_the_picture() -> None:
    (model,) = differences(result(SURE_OF_CAT, peak(1, 1)), result(SURE_OF_CAT, peak(4, 2)), parent="p").to_dict()[
        "models"
    ]
    assert model["maps"][0]["shift"] == [50.0, 150.0]
    assert model["maps"][0]["correlation"] == pytest.approx(-1 / 35)


@examples(max_examples=30, deadline=None)
@given(first=st.tuples(st.integers(0, 5), st.integers(0, 5)), second=st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_going_there_and_back_is_no_way(first: tuple[int, int], second: tuple[int, int]) -> None:
    there = shift(peak(*first), peak(*second), box=(0, 0, 60, 120))
    back = shift(peak(*second), peak(*first), box=(0, 0, 60, 120))
    assert there is not None and back is not None
    assert there == (10 * (second[1] - first[1]), 20 * (second[0] - first[0])) == (-back[0], -back[1])


def test_maps_without_an_order_or_without_evidence_say_nothing() -> None:
    flat, nothing = np.zeros((6, 6), np.float32), -peak(1, 1) - 3
    (model,) = differences(result(SURE_OF_CAT, peak(1, 1)), result(SURE_OF_CAT, flat), parent="p").to_dict()["models"]
    assert (model["maps"][0]["correlation"], model["maps"][0]["shift"]) == (None, None)
    assert shift(peak(1, 1), nothing, box=(0, 0, 6, 6)) is None
    assert shift(np.full((6, 6), np.nan, np.float32), peak(1, 1), box=(0, 0, 6, 6)) is None


def test_maps_of_another_class_or_contrast_are_marked() -> None:
    before = result(SURE_OF_CAT, peak(1, 1))
    dog: dict[str, object] = {"index": 5, "name": "dog"}
    for after in (result(SURE_OF_FROG, peak(1, 1)), result(SURE_OF_CAT, peak(1, 1), contrast=dog)):
        assert not differences(before, after, parent="p").to_dict()["models"][0]["maps"][0]["same_target"]


def test_what_only_one_result_has_is_left_out() -> None:
    before = result(SURE_OF_CAT, peak(1, 1), nodes=None)
    assert differences(before, result(SURE_OF_CAT, peak(1, 1), model="other"), parent="p").to_dict()["models"] == []
    assert (
        differences(before, result(SURE_OF_CAT, peak(1, 1)), parent="p").to_dict()["models"][0]["decision_path"] is None
    )


def test_a_result_of_an_earlier_version_has_no_probabilities_to_compare_with() -> None:
    before = result(SURE_OF_CAT, peak(1, 1))
    before = Result(before.answer, {"m.cam": before.maps["m.cam"]})
    (model,) = differences(before, result(SURE_OF_CAT, peak(1, 1)), parent="p").to_dict()["models"]
    assert all(entry["before"] is None and entry["after"] is not None for entry in model["top"])


def test_a_parent_that_is_gone_is_a_warning() -> None:
    after = with_differences(result(SURE_OF_CAT, peak(1, 1)), parent="p", before=None)
    assert after.document["differences"] is None
    assert [one["code"] for one in after.document["warnings"]] == ["parent_gone"]
