"""Warnings beside an explanation: what a reader must know before believing it.

The text of each is one plain English sentence; its parameters let a page say it in its reader's own language. Every
function returns a list, empty where all is well.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shared.answer.classes import NodeProbability
from shared.answer.maps import Stability
from shared.answer.path import DecisionPath, Step
from shared.answer.record import Caution
from shared.cards.calibration import FamiliarityLimit
from shared.cards.class_names import short_name
from worker.trust.defect import SENTENCES, Defect, defects
from worker.trust.stability import UNSTABLE

BORDER_WIDTH = 1 / 8  # of the side; at least one cell
BORDER_SHARE = 0.95  # of the positive evidence; maps of held-out pictures have about 0.2 to 0.4, at most 0.6
SMALLEST_GRID = 5  # cells a side; on a smaller grid the border is nearly everything


def warning(code: str, text: str, **params: str | int | float | bool | None) -> Caution:
    """One warning of the contract: a code, its parameters, and the English sentence."""
    return Caution(code=code, params=params, text=text)


def map_warnings(maps: Tensor) -> list[list[Caution]]:
    """Of each of N h x w maps: not finite, the same everywhere, no positive evidence, all evidence at the border."""
    positive = (maps > 0).flatten(1).any(1).tolist()
    said = zip(defects(maps), positive, border_shares(maps), strict=True)
    return [_of_map(flaw, positive=any_positive, border=border) for flaw, any_positive, border in said]


def _of_map(flaw: Defect | None, *, positive: bool, border: float) -> list[Caution]:
    found = [] if flaw is None else [warning(flaw.value, SENTENCES[flaw])]
    if flaw is not Defect.NOT_FINITE and not positive:
        found.append(warning("map_without_positive", "No part of the picture speaks for this class."))
    if flaw is None and border >= BORDER_SHARE:
        text = "All evidence for this class lies at the border of the picture."
        found.append(warning("map_at_border", text, share=BORDER_SHARE))
    return found


def border_shares(maps: Tensor) -> list[float]:
    """Share, 0..1, of the positive evidence of each of N h x w maps in the outer BORDER_WIDTH. 0 where none is positive
    or the grid is too small to tell."""
    count, *sides = maps.shape
    if min(sides) < SMALLEST_GRID:
        return [0.0] * count
    positive = maps.double().clamp(min=0)
    rows, columns = (max(1, round(side * BORDER_WIDTH)) for side in sides)
    inner, whole = positive[:, rows:-rows, columns:-columns].sum((1, 2)), positive.sum((1, 2))
    shares: list[float] = torch.where(whole > 0, 1 - inner / whole, 0.0).tolist()
    return shares


def confidence_warnings(confidence: float, *, threshold: float | None) -> list[Caution]:
    """Of a calibrated confidence below the card's threshold; silent for a model whose threshold was not measured."""
    if threshold is None or confidence >= threshold:
        return []
    text = (
        f"The model is unsure: its confidence is {_percent(confidence)}, and of its answers below "
        f"{_percent(threshold)} more were wrong than right when this was measured."
    )
    return [warning("low_confidence", text, confidence=confidence, threshold=threshold)]


def familiarity_warnings(score: float, *, limit: FamiliarityLimit | None) -> list[Caution]:
    """Of a picture far from the training classes; silent for a model whose threshold was not measured."""
    if limit is None or score >= limit.threshold:
        return []
    text = (
        "The picture is unlike those that the model knows, so its answer may mean nothing; "
        f"about {_percent(limit.false_alarm)} of the pictures of known kinds get this warning too."
    )
    return [
        warning(
            "unfamiliar_picture",
            text,
            kind=limit.kind,
            score=score,
            threshold=limit.threshold,
            false_alarm=limit.false_alarm,
        )
    ]


def path_warnings(path: DecisionPath, *, network: str) -> list[Caution]:
    """Of a decision path: its weakest decision, where that is weak; a likelier branch that was passed by; and an end
    that is not the `network`'s class."""
    found = [_weak_decision(path)] if path.is_weak(path.weakest) else []
    leaf = short_name(path.prediction.name)
    for at, step in enumerate(path.steps):
        if (other := step.likelier_branch) is not None:
            found.append(_likelier_branch(at, step, other, leaf=leaf))
    if not path.agrees_with_network:
        text = f"The tree ends at '{leaf}', but the network itself answers '{short_name(network)}'."
        found.append(warning("tree_disagrees", text, tree=leaf, network=short_name(network)))
    return found


def _weak_decision(path: DecisionPath) -> Caution:
    at, threshold = path.weakest, path.weak_threshold
    step = path.steps[at]
    name, probability = short_name(step.name), step.probability
    text = (
        f"The decision for '{name}' on the path is weak: its probability is {_percent(probability)}, "
        f"and below {_percent(threshold)} a decision counts as weak."
    )
    return warning(
        "weak_decision", text, at=at, node=step.node, name=name, probability=probability, threshold=threshold
    )


def _likelier_branch(at: int, step: Step, other: NodeProbability, *, leaf: str) -> Caution:
    name, rival = short_name(step.name), short_name(other.name)
    text = (
        f"At '{name}' ({_percent(step.probability)}) the path passes '{rival}' by, which is likelier "
        f"({_percent(other.probability)}): it leads to the likeliest single class, {leaf}, and the classes below "
        f"'{rival}' share what that branch has."
    )
    shares = {"probability": step.probability, "rival_probability": other.probability}
    return warning("likelier_branch", text, at=at, node=step.node, name=name, rival=rival, leaf=leaf, **shares)


def stability_warnings(stability: Stability) -> list[Caution]:
    """Of a map that changes when its picture changes in a way that no one would notice."""
    lowest = stability.lowest
    if lowest is None or lowest >= UNSTABLE:
        return []
    text = (
        "The map is unstable: under faint noise, a shift by one pixel or mirroring, "
        f"its rank correlation falls to {lowest:.2f}, below {UNSTABLE}."
    )
    return [warning("map_unstable", text, lowest=lowest, threshold=UNSTABLE)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
