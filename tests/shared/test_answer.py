"""Answers: earlier versions are read, what later ones add is passed over, and nothing changes on the way."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from shared.answer.answer import Answer
from shared.answer.maps import Certificate
from tests.shared.answers import answer_of, explanation_of

FIRST: dict[str, Any] = {  # as the first version wrote it
    "explanations": [
        {
            "model": "m",
            "prediction": {
                "index": 3,
                "name": "cat",
                "probability": 0.9,
                "logit": 7.0,
                "top": [{"index": 3, "name": "cat", "probability": 0.9, "logit": 7.0}],
            },
            "maps": [
                {
                    "method": "cam",
                    "target": {"index": 3, "name": "cat"},
                    "contrast": None,
                    "layer": "layer4",
                    "grid": [7, 7],
                    "artifacts": {"raw": "m.cam.npy", "heatmap": "m.cam.heatmap.png", "overlay": "m.cam.overlay.png"},
                    "range": [-1.0, 2.0],
                    "exactness": {"bias": 0.1, "score": 7.0, "residual": 1e-7, "tolerance": 1e-5, "exact": True},
                    "warnings": [],
                }
            ],
            "decision_path": {
                "mode": "soft",
                "prediction": {"index": 3, "name": "cat"},
                "agrees_with_network": True,
                "weakest": 0,
                "steps": [
                    {
                        "node": "n1",
                        "name": "animal",
                        "probability": 0.55,
                        "path_probability": 0.55,
                        "entropy": 0.6,
                        "siblings": [{"node": "n2", "name": "vehicle", "probability": 0.45}],
                    }
                ],
            },
            "input": {"box": [0, 0, 32, 32], "size": 32},
        }
    ],
    "provenance": {"seed": 0, "versions": {"torch": "2.13.0"}},
    "timings": {"compute_ms": 3.0},
    "warnings": [],
}


def test_what_the_first_version_stored_is_read() -> None:
    answer = Answer.from_dict(FIRST)
    (explanation,) = answer.explanations
    assert explanation.sure is None and explanation.verdict is None
    assert explanation.maps[0].claim == "exact" and not explanation.maps[0].is_contrast
    assert explanation.decision_path is not None and explanation.decision_path.is_weak(0)
    assert [name for name, _ in explanation.all_maps()] == ["cam"]
    assert answer.provenance.models == {} and answer.differences is None and answer.agreement == ()


def test_what_a_later_version_adds_is_passed_over() -> None:
    later = {**FIRST, "mood": "good", "explanations": [{**FIRST["explanations"][0], "colour": "blue"}]}
    assert Answer.from_dict(later) == Answer.from_dict(FIRST)


def test_an_answer_is_the_same_after_the_way_through_json() -> None:
    answer = Answer.from_dict(FIRST)
    assert Answer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer


def test_a_value_that_json_has_no_number_for_is_none_on_the_way_and_not_a_number_after_it() -> None:
    found = Certificate.from_dict({"bias": 0, "score": None, "residual": None, "tolerance": 1e-5, "exact": False})
    assert math.isnan(found.residual) and found.backward_error is None


def test_an_answer_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        answer_of({}).timings = {}


@pytest.mark.parametrize("raw", ["m.cam.npy", "/api/v1/jobs/x/artifacts/m.cam.npy", "https://example.org/a/m.cam.npy"])
def test_a_raw_map_is_found_by_its_name_or_its_address(raw: str) -> None:
    entry = explanation_of({"maps": [{"artifacts": {"raw": raw}}]}).maps[0]
    assert entry.raw_name == "m.cam"
