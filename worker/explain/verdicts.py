"""The rule of the verdicts: what to make of a model's answer, from what the model gives and what others say of it.

It is written down in `docs/verdicts.md`. A certificate says that a map adds up, never that an answer is right, so none
goes in here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from shared.answer.explanation import Verdict
from shared.answer.record import Params
from shared.cards.class_names import short_name
from shared.cards.verdicts import SENTENCES, Level
from shared.drawing.phrases import percent
from worker.explain.agreement import Agreement, ModelAnswer, Relation
from worker.trust.familiarity import FamiliarityKind, familiarity

NARROW = 500
"""A model of fewer classes sees mostly images of other things and has no class for them: alone it is never believed."""

GENERAL = 1 / 4
"""Of a model's classes. A sure answer that covers more of them, such as `artifact`, says little."""


def verdict(answer: ModelAnswer, agreements: Sequence[Agreement]) -> Verdict:
    """What to make of one model's answer. Those agreements count that tell what a model with at least as many classes
    says."""
    told = [one for one in agreements if one.narrow is answer and one.relation is not Relation.UNKNOWN]
    broader = [one for one in told if one.broad.card.class_count > answer.card.class_count]
    widest = max((one.broad.card.class_count for one in broader), default=0)
    witnesses = [one for one in broader if one.broad.card.class_count == widest]
    found = [(*_beside(answer, one), one) for one in witnesses]
    level, reasons, witness = max(found, key=_gravity, default=(*_alone(answer), None))
    other = None if witness is None else witness.broad
    peer = _contradicting_peer(answer, agreements)
    if level is Level.BELIEVE and peer is not None:
        level, reasons, other = Level.CARE, ("peer_contradicts", *reasons), peer
    params = _params(answer, witness, other)
    return Verdict(level=level.value, reasons=reasons, params=params, text=SENTENCES[reasons[0]].format(**params))


def _gravity(found: tuple[Level, tuple[str, ...], Agreement]) -> tuple[int, str]:
    """Of several models that are the broadest, the one whose word is the worst counts."""
    level, _, said = found
    return list(Level).index(level), said.broad.card.name


def _alone(answer: ModelAnswer) -> tuple[Level, tuple[str, ...]]:
    """By what the model itself gives."""
    level, reasons = _own(answer)
    if answer.is_of_small_image and answer.card.class_count >= NARROW:
        return (Level.GUESS if level is Level.GUESS or is_unfamiliar(answer) else Level.CARE), ("small_image", *reasons)
    if is_unfamiliar(answer):
        believed = level is Level.BELIEVE and answer.card.class_count >= NARROW
        return (Level.CARE, ("unfamiliar_sure", *reasons)) if believed else (Level.FOREIGN, ("unfamiliar", *reasons))
    if answer.card.class_count < NARROW and level in (Level.BELIEVE, Level.CARE):
        return Level.CARE, ("narrow", *reasons)
    return level, reasons


def _own(answer: ModelAnswer) -> tuple[Level, tuple[str, ...]]:
    """By confidence and sure answer."""
    sure, limits = answer.sure, answer.card.limits
    if sure is not None and sure.group.index is not None:
        believed = sure.probability >= limits.believe_at
        return (Level.BELIEVE, ("sure_class",)) if believed else (Level.CARE, ("likely_class",))
    if sure is not None and len(sure.group.classes) <= GENERAL * answer.card.class_count:
        return Level.CARE, ("sure_group",)
    if answer.confidence < limits.guess_below:
        return Level.GUESS, ("low_confidence",)
    if sure is None and answer.confidence >= limits.believe_at:
        return Level.BELIEVE, ("sure_class",)
    return Level.CARE, ("nothing_sure",) if sure is None or sure.is_root else ("sure_group",)


def _beside(answer: ModelAnswer, said: Agreement) -> tuple[Level, tuple[str, ...]]:
    """By what a broader model says, and by what the model itself gives."""
    level, reasons = _own(answer)
    if said.relation is Relation.FOREIGN:
        return Level.FOREIGN, ("none_of_its_classes" if said.code == "foreign" else "outside", *reasons)
    if said.relation is Relation.EXCLUDES:
        return Level.GUESS, ("contradicted", *reasons)
    if said.relation is Relation.GROUP:
        return Level.CARE, ("shared_group", *reasons)
    if said.relation is Relation.UNCLEAR:
        return (level, reasons) if level is Level.GUESS else (Level.CARE, ("unclear", *reasons))
    if level is Level.BELIEVE or "likely_class" in reasons:
        return Level.BELIEVE, ("confirmed",)
    return Level.CARE, reasons if "sure_group" in reasons else ("unsure_confirmed", *reasons)


def _contradicting_peer(answer: ModelAnswer, agreements: Sequence[Agreement]) -> ModelAnswer | None:
    """A model with as many classes whose answer excludes this one; by name the first of several."""
    peers = [
        one.narrow if one.broad is answer else one.broad
        for one in agreements
        if answer is one.broad or answer is one.narrow
        if one.broad.card.class_count == one.narrow.card.class_count
        if one.relation in (Relation.EXCLUDES, Relation.FOREIGN)
    ]
    return min(peers, key=lambda peer: peer.card.name, default=None)


def is_unfamiliar(answer: ModelAnswer) -> bool:
    """Whether the image is unlike those that the model knows, by the limit of its card."""
    limit = answer.card.limits.unfamiliar
    if limit is None:
        return False
    logits = torch.from_numpy(answer.logits)[None]
    return float(familiarity(logits, kind=FamiliarityKind(limit.kind))[0]) < limit.below


def _params(answer: ModelAnswer, witness: Agreement | None, other: ModelAnswer | None) -> Params:
    """All that the sentences speak of. `other` is the model that the first reason names."""
    sure = answer.sure
    vouched = sure is not None and not sure.is_root
    return {
        "name": short_name(answer.card.classes[answer.predicted]),
        "confidence": percent(answer.confidence),
        "probability": percent(sure.probability if sure is not None and vouched else answer.confidence),
        "sure": short_name(answer.group.name),
        "count": answer.card.class_count,
        "size": answer.card.input.crop,
        "kinds": len(answer.group.classes),
        "other": None if other is None else other.card.title,
        "theirs": None if other is None else short_name(other.group.name),
        "shared": None if witness is None or witness.shared is None else short_name(witness.shared.name),
        "share": None if witness is None or witness.share is None else percent(witness.share),
    }
