"""What the pages say of an answer in the reader's language: its headline, its verdict, and what models say of each
other. A result that an earlier version stored has neither a sure answer nor a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from shared.cards import ModelCard
from shared.class_names import short_name
from shared.verdicts import vouches_for_nothing
from web import words
from web.language import gettext as _
from web.language import told

Json = Mapping[str, Any]
Cards = Mapping[str, ModelCard]
OF_TARGET, WEAK_DECISION = "nothing_sure", "weak_decision"
_SAME = {  # warnings, by the reason of a verdict that says them
    "low_confidence": "low_confidence",
    "unfamiliar": "unfamiliar_picture",
    "unfamiliar_sure": "unfamiliar_picture",
}
_BOUND = re.compile(r"[<>][0-9.]+%")  # a share as `shared.phrases.percent` writes what lies beyond its last digit


def headline(explanation: Json) -> str:
    """The sure answer; where it is a group of classes or none, with the likeliest class beside it."""
    name, sure = short_name(explanation["prediction"]["name"]), explanation.get("sure")
    if sure is None or sure["index"] is not None:
        return name
    if vouches_for_nothing(explanation):
        return _("no sure answer: {name} is only the likeliest", name=name).striptags()
    return _("{sure}, most likely {name}", sure=short_name(sure["name"]), name=name).striptags()


def in_brief(explanation: Json) -> str:
    """The headline with the word of the verdict."""
    verdict = explanation.get("verdict")
    if verdict is None:
        return headline(explanation)
    return _("{answer} ({verdict})", answer=headline(explanation), verdict=words.verdict(verdict["level"])).striptags()


def share(explanation: Json) -> float:
    """The one probability beside the headline: of the sure answer, or of the class that is only the likeliest, both as
    `sure_at` is compared with; without a tree, the confidence."""
    sure, prediction = explanation.get("sure"), explanation["prediction"]
    if sure is None:
        return float(prediction.get("confidence") or prediction["probability"])
    return float(prediction["probability"] if vouches_for_nothing(explanation) else sure["probability"])


def warnings(job: Json, explanation: Json) -> list[Json]:
    """The warnings beside a model's answer, but for those of its maps and those that its verdict says already."""
    own = (one for one in job["result"]["warnings"] if one["model"] == explanation["model"] and not one.get("method"))
    return [one for one in own if one["code"] != OF_TARGET and not _is_said(one, explanation)]


def _is_said(warning: Json, explanation: Json) -> bool:
    """Whether the verdict's sentence says it; or the headline, of a decision below the sure answer."""
    verdict = explanation.get("verdict")
    if warning["code"] == WEAK_DECISION and explanation.get("sure"):
        return bool(warning["params"]["at"] > _place(explanation))
    return verdict is not None and warning["code"] == _SAME.get(verdict["reasons"][0])


def _place(explanation: Json) -> float:
    """The step of the decision path that leads to the sure answer; before its first for the root, past its end where
    none does."""
    if vouches_for_nothing(explanation):
        return -1
    nodes = [step["node"] for step in explanation["decision_path"]["steps"]]
    wanted = explanation["sure"]["node"]
    return nodes.index(wanted) if wanted in nodes else math.inf


def of_target(job: Json, explanation: Json) -> list[Json]:
    """The warning that what was asked about is not what the maps show."""
    wanted = (explanation["model"], OF_TARGET)
    return [one for one in job["result"]["warnings"] if (one["model"], one["code"]) == wanted]


def sentence(verdict: Json, cards: Cards) -> str:
    """Why: what the verdict's first reason says."""
    return told(f"verdict_{verdict['reasons'][0]}", verdict["text"], _localized(verdict["params"], cards))


def of_models(agreement: Json, cards: Cards) -> str:
    """What two models' answers say of each other."""
    return told(f"agreement_{agreement['code']}", agreement["text"], _localized(agreement["params"], cards))


def _localized(params: Json, cards: Cards) -> dict[str, Any]:
    """Titles of models and shares beyond the last digit in the reader's language; the rest as it is."""
    titles = {card.title: told(card.name, card.title) for card in cards.values()}
    return {key: _said(value, titles) for key, value in params.items()}


def _said(value: Any, titles: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return words.share(value) if _BOUND.fullmatch(value) else titles.get(value, value)
