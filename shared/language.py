"""The languages of pages and reports, and the words of each, in `locales/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "ja": "日本語"}  # each in its own words, for the switch
_LOCALES = Path(__file__).parent / "locales"


@dataclass(frozen=True)
class Catalogue:
    """The words of one language. An English sentence that it lacks stays English, and so English has an empty one."""

    pages: Mapping[str, str]  # by English sentence, of templates and of the package `web`
    scripts: Mapping[str, str]  # by English sentence, of ES modules
    reports: Mapping[str, str]  # by English sentence, of reports on many pictures
    codes: Mapping[str, str]  # by code, of warnings, errors and whatever else arrives with one
    cards: Mapping[str, str]  # by English text, of the cards of shipped models

    def translate_code(self, code: str, text: str, params: Mapping[str, Any] | None = None) -> str:
        """What bears a code: with `params` and `text` in its places. The English text where the catalogue does not know
        the code, or an older version wrote other parameters."""
        known = self.codes.get(code)
        if known is None:
            return text
        try:
            return known.format(**{"text": text, **(params or {})})
        except (LookupError, ValueError, TypeError):
            return text


@cache
def catalogue(language: str) -> Catalogue:
    """The words of one of LANGUAGES."""
    if language == ENGLISH:
        return Catalogue({}, {}, {}, {}, {})
    return Catalogue(**json.loads((_LOCALES / f"{language}.json").read_text("utf-8")))
