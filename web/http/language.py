"""The reader's language: which one a request is answered in, and every sentence of the pages in it.

Templates write English: `{{ _("The map of {name}", name=class_name) }}`. The sentence is the key of its translation in
`shared/locales/`; it may hold tags, while what is put into its places is escaped. Jinja runs the top of an imported
template once for all readers, so that there `_` belongs inside macros. ES modules do the same with `say` of
`static/say.js`.
What a worker or the API has written bears a code: `translate_code(code, text)` says it by that code, else by its
English text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, has_request_context, request
from markupsafe import Markup

from shared.language import ENGLISH, LANGUAGES, catalogue

COOKIE = "pathlight_language"
_COOKIE_SECONDS = 365 * 24 * 3600


def current() -> str:
    """The language of this request: of `?lang=`, else of the cookie, else the best that the browser asks for."""
    if not has_request_context():
        return ENGLISH
    for word in (request.args.get("lang"), request.cookies.get(COOKIE)):
        if word in LANGUAGES:
            return word
    return request.accept_languages.best_match(LANGUAGES, ENGLISH)


def gettext(message: str, /, **values: object) -> Markup:
    """A sentence of the pages in the reader's language, as HTML; the values put into its places are escaped."""
    return Markup(catalogue(current()).pages.get(message, message)).format(**values)


def translate_code(code: str, text: str, params: Mapping[str, Any] | None = None) -> str:
    """What bears a code, in the reader's language."""
    return catalogue(current()).translate_code(code, text, params)


def of_card(text: str) -> str:
    """A text of a model's card in the reader's language; as it stands where the catalogue lacks it."""
    return catalogue(current()).cards.get(text, text)


def gap() -> str:
    """What stands between two sentences: a space, which Japanese does without."""
    return "" if current() == "ja" else " "


def script_words() -> dict[str, Mapping[str, str]] | None:
    """What the page hands to its ES modules; None where they speak English."""
    words = catalogue(current())
    return {"sentences": words.scripts, "codes": words.codes} if words.scripts else None


def register(pages: Blueprint) -> None:
    """Give the templates their words, and let a browser keep the language that its reader chose."""
    words: Mapping[str, Callable[..., Any]] = {
        "_": gettext,
        "translate_code": translate_code,
        "language": current,
        "languages": _choices,
        "script_words": script_words,
        "gap": gap,
        "of_card": of_card,
    }
    for name, word in words.items():
        pages.add_app_template_global(word, name)

    @pages.after_app_request
    def keep_choice(response: Response) -> Response:
        if response.mimetype != "text/html":
            return response
        response.headers["Content-Language"] = current()
        response.vary.update(("Accept-Language", "Cookie"))
        chosen = request.args.get("lang")
        if chosen in LANGUAGES:
            secure = request.is_secure
            response.set_cookie(COOKIE, chosen, max_age=_COOKIE_SECONDS, secure=secure, httponly=True, samesite="Lax")
        return response


def _choices() -> list[tuple[str, str, str]]:
    """Every language: its code, its name, and the address of the page that is being drawn in it."""
    here = quote(request.script_root + request.path)
    return [(code, name, f"{here}?{urlencode({**request.args, 'lang': code})}") for code, name in LANGUAGES.items()]
