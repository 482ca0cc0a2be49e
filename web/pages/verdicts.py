"""What the pages say of an answer in the reader's language: its headline, its verdict, and what models say of each
other. A result that an earlier version stored has neither a sure answer nor a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

from shared.answer.answer import ModelAgreement
from shared.answer.explanation import Explanation, SureAnswer, Verdict
from shared.answer.record import Caution, Params
from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from shared.documents import JobDocument
from web.http.language import gettext as _
from web.http.language import translate_code
from web.pages import words

Cards = Mapping[str, ModelCard]
OF_TARGET, WEAK_DECISION = "nothing_sure", "weak_decision"
_SAME = {  # warnings, by the reason of a verdict that says them
    "low_confidence": "low_confidence",
    "unfamiliar": "unfamiliar_picture",
    "unfamiliar_sure": "unfamiliar_picture",
}
_BOUND = re.compile(r"[<>][0-9.]+%")  # a share beyond the last digit, as `phrases.percent` writes it


def headline(explanation: Explanation) -> str:
    """The sure answer; where it is a group of classes or none, with the likeliest class beside it."""
    name, sure = short_name(explanation.prediction.name), explanation.sure
    if sure is None or sure.index is not None:
        return name
    if sure.is_root:
        return _("no sure answer: {name} is only the likeliest", name=name).striptags()
    return _("{sure}, most likely {name}", sure=short_name(sure.name), name=name).striptags()


def in_brief(explanation: Explanation) -> str:
    """The headline with the word of the verdict."""
    verdict = explanation.verdict
    if verdict is None:
        return headline(explanation)
    return _("{answer} ({verdict})", answer=headline(explanation), verdict=words.verdict(verdict.level)).striptags()


def share(explanation: Explanation) -> float:
    """The one probability beside the headline: of the sure answer, or of the class that is only the likeliest, both as
    `sure_at` is compared with; without a tree, the confidence."""
    sure, prediction = explanation.sure, explanation.prediction
    if sure is None:
        return prediction.confidence or prediction.probability
    return prediction.probability if sure.is_root else sure.probability


def warnings(job: JobDocument, explanation: Explanation) -> list[Caution]:
    """The warnings beside a model's answer, but for those of its maps and those that its verdict says already."""
    own = (one for one in _of_model(job, explanation) if not one.method)
    return [one for one in own if one.code != OF_TARGET and not _is_said(one, explanation)]


def _of_model(job: JobDocument, explanation: Explanation) -> tuple[Caution, ...]:
    return job.result.warnings_of(explanation.model) if job.result else ()


def _is_said(warning: Caution, explanation: Explanation) -> bool:
    """Whether the verdict's sentence says it; or the headline, of a decision below the sure answer."""
    verdict = explanation.verdict
    if warning.code == WEAK_DECISION and explanation.sure:
        return cast("float", warning.params["at"]) > _step_of_sure(explanation, explanation.sure)
    return verdict is not None and warning.code == _SAME.get(verdict.reasons[0])


def _step_of_sure(explanation: Explanation, sure: SureAnswer) -> float:
    """The step of the decision path that leads to the sure answer; before its first for the root, past its end where
    none does."""
    if sure.is_root or explanation.decision_path is None:
        return -1
    nodes = [step.node for step in explanation.decision_path.steps]
    return nodes.index(sure.node) if sure.node in nodes else math.inf


def of_target(job: JobDocument, explanation: Explanation) -> tuple[Caution, ...]:
    """The warning that what was asked about is not what the maps show."""
    return tuple(one for one in _of_model(job, explanation) if one.code == OF_TARGET)


def sentence(verdict: Verdict, cards: Cards) -> str:
    """Why: what the verdict's first reason says."""
    return translate_code(f"verdict_{verdict.reasons[0]}", verdict.text, _localized(verdict.params, cards))


def of_models(agreement: ModelAgreement, cards: Cards) -> str:
    """What two models' answers say of each other."""
    return translate_code(f"agreement_{agreement.code}", agreement.text, _localized(agreement.params, cards))


def _localized(params: Params, cards: Cards) -> dict[str, Any]:
    """Titles of models and shares beyond the last digit in the reader's language; the rest as it is."""
    titles = {card.title: translate_code(card.name, card.title) for card in cards.values()}
    return {key: _said(value, titles) for key, value in params.items()}


def _said(value: Any, titles: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return words.share(value) if _BOUND.fullmatch(value) else titles.get(value, value)
