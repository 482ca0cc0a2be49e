"""Answers of which a test gives the part that it looks at; the rest is filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.answer.answer import Answer
from shared.answer.explanation import Explanation
from shared.answer.path import DecisionPath

Json = Mapping[str, Any]

CERTIFICATE = {"bias": 0.1, "score": 5.0, "residual": 1e-7, "tolerance": 1e-5, "exact": True}
ARTIFACTS = {"raw": "m.cam.npy", "heatmap": "m.cam.heatmap.png", "overlay": "m.cam.overlay.png"}
PROOFS = ("faithfulness", "stability", "agreement")
PROOFS = ("faithfulness", "stability", "agreement")
CAT = {"index": 0, "name": "cat"}


def answer_of(document: Json) -> Answer:
    """The answer whose document this is, as far as it goes."""
    explanations = [_explanation(one) for one in document.get("explanations", ())]
    warnings = [{"text": "So.", **one} for one in document.get("warnings", ())]
    agreement = [{"params": {}, **one} for one in document.get("agreement", ())]
    return Answer.from_dict({**document, "explanations": explanations, "warnings": warnings, "agreement": agreement})


def explanation_of(document: Json) -> Explanation:
    return Explanation.from_dict(_explanation(document))


def path_of(document: Json) -> DecisionPath:
    return DecisionPath.from_dict(_path(document))


def _explanation(given: Json) -> dict[str, Any]:
    found: dict[str, Any] = {"model": "m", "input": {"box": [0, 0, 8, 8]}, **given}
    found["prediction"] = {**CAT, "probability": 0.9, "logit": 5.0, **given.get("prediction", {})}
    found["maps"] = [_map(one) for one in given.get("maps", ())]
    if given.get("verdict"):
        found["verdict"] = {"params": {}, **given["verdict"]}
    path = given.get("decision_path")
    found["decision_path"] = _path(path) if path else None
    return found


def _map(given: Json) -> dict[str, Any]:
    found: dict[str, Any] = {"method": "cam", "layer": "layer4", "grid": [7, 7], "range": [0.0, 1.0], **given}
    found["target"] = {**CAT, **given.get("target", {})}
    found["artifacts"] = {**ARTIFACTS, **given.get("artifacts", {})}
    if given.get("exactness"):
        found["exactness"] = {**CERTIFICATE, **given["exactness"]}
    for name in PROOFS:
        if given.get(name):
            found[name] = {"text": "So.", "random_maps": 20, "threshold": 0.8, **given[name]}
    return found


def _path(given: Json) -> dict[str, Any]:
    found: dict[str, Any] = {"mode": "soft", "agrees_with_network": True, "weakest": 0, **given}
    found["prediction"] = {**CAT, **given.get("prediction", {})}
    found["steps"] = [{"path_probability": 0.9, "entropy": 0.1, **step} for step in given["steps"]]
    for step in found["steps"]:
        if step.get("map"):
            step["map"] = _step_map(step["map"])
    return found


def _step_map(given: Json) -> dict[str, Any]:
    found: dict[str, Any] = {"against": "n-dog", "grid": [7, 7], "range": [0.0, 1.0], "exactness": CERTIFICATE, **given}
    found["artifacts"] = {**ARTIFACTS, **given.get("artifacts", {})}
    return found
