"""What a what-if changed: each model's answer beside its answer in the parent's result. Pure, on stored results."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.answer.classes import ClassProbability, NodeProbability
from shared.answer.differences import (
    ClassDifference,
    Differences,
    MapDifference,
    ModelDifference,
    PathDifference,
    PredictionDifference,
)
from shared.answer.explanation import Explanation, Prediction
from shared.answer.maps import MapEntry
from shared.answer.path import DecisionPath, Step
from shared.images.decode import Box
from shared.results import Result
from worker.trust.correlation import spearman
from worker.trust.warnings import warning


def with_differences(result: Result, *, parent: str, before: Result | None) -> Result:
    """The result with its differences from that of the job `parent`, or with a warning where that is gone."""
    if before is None:
        text = "The result to compare with was removed before this job ran."
        warnings = (*result.answer.warnings, warning("parent_gone", text, parent=parent))
        return result.with_changes(warnings=warnings)
    return result.with_changes(differences=differences(before, result, parent=parent))


def differences(before: Result, after: Result, *, parent: str) -> Differences:
    """For every model that is in both results."""
    pairs = [(before.answer.of(one.model), one) for one in after.answer.explanations]
    return Differences(
        parent=parent,
        models=tuple(_model(first, second, before, after) for first, second in pairs if first is not None),
    )


def _model(first: Explanation, second: Explanation, before: Result, after: Result) -> ModelDifference:
    old, new = first.prediction, second.prediction
    return ModelDifference(
        model=second.model,
        prediction=PredictionDifference(
            changed=old.index != new.index, before=_probability(old), after=_probability(new)
        ),
        top=_top(old, new, _probabilities(first, before), _probabilities(second, after)),
        maps=_maps(first, second, before, after),
        decision_path=_path(first.decision_path, second.decision_path),
    )


def _probability(prediction: Prediction) -> ClassProbability:
    return ClassProbability(index=prediction.index, name=prediction.name, probability=prediction.probability)


def _top(
    old: Prediction, new: Prediction, before: NDArray[np.float64] | None, after: NDArray[np.float64] | None
) -> tuple[ClassDifference, ...]:
    """The best classes of the first answer, then those that are new among the best of the second."""
    names = {ranked.index: ranked.name for ranked in (*old.top, *new.top)}
    return tuple(
        ClassDifference(
            index=index,
            name=name,
            before=None if before is None else float(before[index]),
            after=None if after is None else float(after[index]),
        )
        for index, name in names.items()
    )


def _probabilities(explanation: Explanation, result: Result) -> NDArray[np.float64] | None:
    """K probabilities; None where an earlier version stored no logits."""
    logits = result.maps.get(f"{explanation.model}.logits")
    if logits is None:
        return None
    odds = np.exp(logits.astype(np.float64) - logits.max())
    probabilities: NDArray[np.float64] = odds / odds.sum()
    return probabilities


def _maps(first: Explanation, second: Explanation, before: Result, after: Result) -> tuple[MapDifference, ...]:
    known = {entry.method: entry for entry in first.maps}
    pairs = [(known[entry.method], entry) for entry in second.maps if entry.method in known]
    return tuple(_map(old, new, old.raw(before.maps), new.raw(after.maps), second.input.box) for old, new in pairs)


def _map(
    old: MapEntry, new: MapEntry, raw_before: NDArray[np.float32], raw_after: NDArray[np.float32], box: Box
) -> MapDifference:
    return MapDifference(
        method=new.method,
        same_target=_subject(old) == _subject(new),
        correlation=_correlation(raw_before, raw_after),
        shift=shift(raw_before, raw_after, box=box),
    )


def _subject(entry: MapEntry) -> list[tuple[int | None, str] | None]:
    """What a map is of, in a form that results of earlier versions have too: they name no node."""
    return [None if one is None else (one.index, one.name) for one in (entry.target, entry.contrast)]


def _correlation(old: NDArray[np.float32], new: NDArray[np.float32]) -> float | None:
    """Spearman's; None where a map has no order, or where a model's grid is no longer what it was."""
    if old.shape != new.shape:
        return None
    return spearman(torch.from_numpy(old.copy())[None], torch.from_numpy(new.copy())[None])[0]


def shift(old: NDArray[np.float32], new: NDArray[np.float32], *, box: Box) -> tuple[float, float] | None:
    """How far the centre of the positive evidence moved, right and down in pixels, between two h x w maps of the part
    `box` (x0 y0 x1 y1) of a picture. None where a map has no positive evidence."""
    start, end = _centre(old), _centre(new)
    if start is None or end is None:
        return None
    right, down = (round((end[axis] - start[axis]) * (box[2 + axis] - box[axis]), 1) for axis in (0, 1))
    return right, down


def _centre(raw: NDArray[np.float32]) -> tuple[float, float] | None:
    """The mean place of the positive evidence, x and y in 0..1."""
    evidence = np.clip(raw.astype(np.float64), 0, None)
    total = evidence.sum()
    if not np.isfinite(total) or total <= 0:
        return None
    rows, columns = ((np.arange(size) + 0.5) / size for size in raw.shape)
    return float((evidence.sum(0) * columns).sum() / total), float((evidence.sum(1) * rows).sum() / total)


def _path(old: DecisionPath | None, new: DecisionPath | None) -> PathDifference | None:
    """The first decision that fell otherwise; None where not both have a path."""
    if old is None or new is None:
        return None
    for number, (first, second) in enumerate(zip(old.steps, new.steps, strict=False)):
        if first.node != second.node:
            return PathDifference(changed=True, step=number, before=_node(first), after=_node(second))
    return PathDifference(changed=False)


def _node(step: Step) -> NodeProbability:
    return NodeProbability(node=step.node, name=step.name, probability=step.probability)
