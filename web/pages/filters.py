"""Numbers and sentences as templates write them: `{{ probability | percent }}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Blueprint

from shared.cards.class_names import short_name
from shared.drawing import phrases
from shared.jobs import JobStatus
from web.http.language import gettext as _
from web.pages import verdicts, words


def register(pages: Blueprint) -> None:
    """Give the filters, and a test of states, to every template."""
    filters: Mapping[str, Callable[..., str]] = {
        "percent": percent,
        "number": phrases.number,
        "residual": residual,
        "duration": duration,
        "sentence": sentence,
        "short": short_name,
        "method_name": words.method_name,
        "method_hint": words.method_hint,
        "verdict_word": words.verdict,
        "in_brief": verdicts.in_brief,
    }
    for name, phrase in filters.items():
        pages.add_app_template_filter(phrase, name)
    pages.add_app_template_test(is_terminal, "terminal")


def is_terminal(status: str) -> bool:
    """Whether a job in this state has ended: `{% if job.status is terminal %}`."""
    return JobStatus(status).is_terminal


def percent(probability: float) -> str:
    """With one digit; what lies beyond it in the words of the reader's language."""
    return words.share(phrases.percent(probability))


def residual(value: float) -> str:
    """One significant digit: 3e-7."""
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def duration(seconds: float) -> str:
    """About how long, in seconds or minutes."""
    if seconds < 1:
        return _("less than a second")
    if seconds < 90:
        return _("about {seconds} s", seconds=round(seconds))
    return _("about {minutes} min", minutes=round(seconds / 60))


def sentence(text: str) -> str:
    """An error's text with a capital letter and a full stop."""
    ending = "" if not text or text[-1] in ".!?。！？" else "."
    return text[:1].upper() + text[1:] + ending
