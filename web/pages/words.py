"""Words that the pages have in the reader's language: of methods, of what a worker is doing, of verdicts and shares."""

from __future__ import annotations

from shared.cards.methods import BY_NAME, METHODS, Method
from shared.cards.verdicts import Level
from web.http.language import gettext as _
from web.http.language import translate_code


def method_name(method: str) -> str:
    """A method as people call it; its own name where it is one of a newer version."""
    known = BY_NAME.get(method)
    return translate_code(known.label_code, known.label) if known else method


def method_hint(method: Method) -> str:
    """How a method works, in a few words."""
    return translate_code(method.hint_code, method.hint)


def stage_names() -> dict[str, str]:
    """What a worker is doing, by the stage that it reports."""
    drawing = {method: _("Drawing the map: {method}", method=method_name(method)).striptags() for method in METHODS}
    steady = {f"stability of {method}": _("Measuring how stable the map is").striptags() for method in METHODS}
    return {**drawing, **steady, "faithfulness": _("Measuring how faithful the map is").striptags()}


def verdict(level: str) -> str:
    """The word of a verdict; its own name where it is one of a newer version."""
    names: dict[str, str] = {
        Level.BELIEVE: _("believe"),
        Level.CARE: _("with care"),
        Level.GUESS: _("a guess"),
        Level.FOREIGN: _("none of its classes"),
    }
    return names.get(level, level)


def share(text: str) -> str:
    """A share in percent as `shared.drawing.phrases.percent` writes it; what lies beyond its last digit in words."""
    if text.startswith("<"):
        return _("&lt;{share}", share=text[1:]).striptags()
    if text.startswith(">"):
        return _("&gt;{share}", share=text[1:]).striptags()
    return text
