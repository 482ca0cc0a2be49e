"""What a what-if changed: each model's answer beside its answer in the parent's result. Pure, on stored results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.results import Result
from worker.trust.correlation import spearman
from worker.trust.warnings import warning

Document = Mapping[str, Any]


def with_differences(result: Result, *, parent: str, before: Result | None) -> Result:
    """The result with its differences from that of the job `parent`, or with a warning where that is gone."""
    if before is None:
        text = "The result to compare with was removed before this job ran."
        warnings = [*result.document["warnings"], warning("parent_gone", text, parent=parent)]
        return replace(result, document={**result.document, "warnings": warnings})
    return replace(result, document={**result.document, "differences": differences(before, result, parent=parent)})


def differences(before: Result, after: Result, *, parent: str) -> dict[str, Any]:
    """The differences of the contract, for every model that is in both results."""
    known = {explanation["model"]: explanation for explanation in before.document["explanations"]}
    pairs = [(known[e["model"]], e) for e in after.document["explanations"] if e["model"] in known]
    return {"parent": parent, "models": [_model(first, second, before, after) for first, second in pairs]}


def _model(first: Document, second: Document, before: Result, after: Result) -> dict[str, Any]:
    old, new = first["prediction"], second["prediction"]
    return {
        "model": second["model"],
        "prediction": {"changed": old["index"] != new["index"], "before": _share(old), "after": _share(new)},
        "top": _top(old, new, _probabilities(first, before), _probabilities(second, after)),
        "maps": _maps(first, second, before, after),
        "decision_path": _path(first["decision_path"], second["decision_path"]),
    }


def _share(prediction: Document) -> dict[str, Any]:
    return {name: prediction[name] for name in ("index", "name", "probability")}


def _top(
    old: Document, new: Document, before: NDArray[np.float64] | None, after: NDArray[np.float64] | None
) -> list[dict[str, Any]]:
    """The best classes of the first answer, then those that are new among the best of the second."""
    names = {ranked["index"]: ranked["name"] for ranked in [*old["top"], *new["top"]]}
    return [
        {
            "index": index,
            "name": name,
            "before": None if before is None else float(before[index]),
            "after": None if after is None else float(after[index]),
        }
        for index, name in names.items()
    ]


def _probabilities(explanation: Document, result: Result) -> NDArray[np.float64] | None:
    """K probabilities; None where an earlier version stored no logits."""
    logits = result.maps.get(f"{explanation['model']}.logits")
    if logits is None:
        return None
    odds = np.exp(logits.astype(np.float64) - logits.max())
    probabilities: NDArray[np.float64] = odds / odds.sum()
    return probabilities


def _maps(first: Document, second: Document, before: Result, after: Result) -> list[dict[str, Any]]:
    known = {entry["method"]: entry for entry in first["maps"]}
    found = []
    for entry in second["maps"]:
        if (other := known.get(entry["method"])) is None:
            continue
        old, new = _raw(other, before), _raw(entry, after)
        found.append(
            {
                "method": entry["method"],
                "same_target": _subject(other) == _subject(entry),
                "correlation": _correlation(old, new),
                "shift": shift(old, new, box=second["input"]["box"]),
            }
        )
    return found


def _subject(entry: Document) -> list[tuple[Any, Any] | None]:
    """What a map is of, in a form that results of earlier versions have too: they name no node."""
    return [one and (one["index"], one["name"]) for one in (entry["target"], entry["contrast"])]


def _raw(entry: Document, result: Result) -> NDArray[np.float32]:
    return result.maps[entry["artifacts"]["raw"].removesuffix(".npy")]


def _correlation(old: NDArray[np.float32], new: NDArray[np.float32]) -> float | None:
    """Spearman's; None where a map has no order, or where a model's grid is no longer what it was."""
    if old.shape != new.shape:
        return None
    return spearman(torch.from_numpy(old.copy())[None], torch.from_numpy(new.copy())[None])[0]


def shift(old: NDArray[np.float32], new: NDArray[np.float32], *, box: list[int]) -> list[float] | None:
    """How far the centre of the positive evidence moved, right and down in pixels, between two h x w maps of the part
    `box` (x0 y0 x1 y1) of a picture. None where a map has no positive evidence."""
    start, end = _centre(old), _centre(new)
    if start is None or end is None:
        return None
    return [round((end[axis] - start[axis]) * (box[2 + axis] - box[axis]), 1) for axis in (0, 1)]


def _centre(raw: NDArray[np.float32]) -> tuple[float, float] | None:
    """The mean place of the positive evidence, x and y in 0..1."""
    evidence = np.clip(raw.astype(np.float64), 0, None)
    total = evidence.sum()
    if not np.isfinite(total) or total <= 0:
        return None
    rows, columns = ((np.arange(size) + 0.5) / size for size in raw.shape)
    return float((evidence.sum(0) * columns).sum() / total), float((evidence.sum(1) * rows).sum() / total)


def _path(old: Document | None, new: Document | None) -> dict[str, Any] | None:
    """The first decision that fell otherwise; None where not both have a path."""
    if old is None or new is None:
        return None
    for number, (first, second) in enumerate(zip(old["steps"], new["steps"], strict=False)):
        if first["node"] != second["node"]:
            return {"changed": True, "step": number, "before": _node(first), "after": _node(second)}
    return {"changed": False, "step": None, "before": None, "after": None}


def _node(step: Document) -> dict[str, Any]:
    return {name: step[name] for name in ("node", "name", "probability")}
