"""What a stage of the page shows: one map, where it lies over the picture, its scale, and what it is in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.answer.classes import ClassGroup, RankedClass
from shared.answer.explanation import Explanation
from shared.answer.maps import AnyMap, MapEntry
from shared.answer.path import Step
from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from shared.documents import JobDocument
from shared.drawing.phrases import number
from shared.drawing.scales import FloatMap, Scale
from web.http.language import gettext as _

Stage = Mapping[str, Any]
"""What the template and `stage.js` draw a map by."""


def of_map(job: JobDocument, explanation: Explanation, entry: MapEntry, raw: FloatMap) -> dict[str, Any]:
    """The map of a class, or of one class against another, with its raw values (h x w)."""
    subject = versus(entry.target.name, entry.contrast.name if entry.contrast else None)
    words = _(
        "Map of the evidence for {subject}; it is strongest {where} of what the network saw.",
        subject=subject,
        where=peak_position(raw),
    )
    scale = Scale.drawn(raw, contrast=entry.is_contrast)
    shown = _shown(job, explanation, entry, top=scale.top)
    more = {"overlay": entry.artifacts.overlay, "without_outliers": scale.without_outliers}
    return {**shown, **more, "subject": subject, "alt": words.striptags()}


def of_step(job: JobDocument, explanation: Explanation, step: Step) -> dict[str, Any]:
    """The map of a decision: the branch that was taken against its strongest rival."""
    entry, rival = step.map, step.rival
    assert entry is not None and rival is not None, "a stage was asked of a step without a map"
    subject = versus(step.name, rival.name)
    return {
        **_shown(job, explanation, entry, top=max(map(abs, entry.range))),
        "subject": subject,
        "alt": _("Map of the decision {subject}", subject=subject).striptags(),
        "caption": _(
            "Red speaks for {target}, blue for {other}.", target=short_name(step.name), other=short_name(rival.name)
        ).striptags(),
    }


def on_one_scale(first: Stage, second: Stage) -> tuple[Stage, Stage]:
    """Two stages on which the same colour means the same value; as they are where only one of them is a contrast."""
    if first["contrast"] != second["contrast"]:
        return first, second
    scale = _scale(max(first["top"], second["top"]), contrast=first["contrast"])
    return {**first, **scale}, {**second, **scale}


def versus(target: str, other: str | None) -> str:
    """What a map is of: "cat", "cat rather than dog"."""
    name = short_name(target)
    if other is None:
        return name
    return _("{target} rather than {other}", target=name, other=short_name(other)).striptags()


def classes(card: ModelCard | None, target: ClassGroup | RankedClass) -> tuple[int, ...]:
    """The indices of a target's classes: of a single one, or of all below its node. Nothing of a node that the model's
    card, which may be another by now, does not know."""
    if target.index is not None:
        return (target.index,)
    if card is None or card.hierarchy is None or target.node not in card.hierarchy.by_id:
        return ()
    return card.hierarchy.leaves_below[target.node]


def can_ask(card: ModelCard | None, node: str) -> bool:
    """Whether the model has such a node to ask about."""
    return card is not None and card.hierarchy is not None and node in card.hierarchy.by_id


def word(target: ClassGroup | RankedClass) -> str:
    """A target as a job takes it: the index of its class, or its node."""
    return str(target.node if target.index is None else target.index)


def unit(name: str) -> str:
    """The unit of a map's values, as it stands behind a number."""
    words = {
        "logit": _("logit units"),
        "probability": _("(probability)"),
        "activation": _("(activation)"),
        "arbitrary": _("(arbitrary)"),
    }
    return words[name].striptags() if name in words else f"({name})"


def peak_position(raw: FloatMap) -> str:
    """Where a map's strongest cell lies: "in the centre", "on the left"."""
    positions = (
        (_("in the upper left"), _("at the top"), _("in the upper right")),
        (_("on the left"), _("in the centre"), _("on the right")),
        (_("in the lower left"), _("at the bottom"), _("in the lower right")),
    )
    row, column = divmod(int(raw.argmax()), raw.shape[1])
    rows, columns = raw.shape
    return positions[3 * (2 * row + 1) // (2 * rows)][3 * (2 * column + 1) // (2 * columns)]


def _shown(job: JobDocument, explanation: Explanation, entry: AnyMap, *, top: float) -> dict[str, Any]:
    return {
        "raw": entry.artifacts.raw,
        "box": explanation.input.box,
        "size": [job.image.width, job.image.height],
        "contrast": entry.is_contrast,
        "unit": unit(entry.unit),
        **_scale(top, contrast=entry.is_contrast),
    }


def _scale(top: float, *, contrast: bool) -> dict[str, Any]:
    """The value with the last colour, and the numbers at the ends of the colour bar."""
    return {"top": top, "low": number(-top) if contrast else "0", "high": number(top)}
