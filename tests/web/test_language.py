"""The reader's language: how it is chosen and kept, and that no sentence is left untranslated or unused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from string import Formatter

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import Environment, nodes

from shared import language as locales
from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards import verdicts
from shared.cards.card import ModelCard, Registry
from shared.cards.methods import CATALOGUE
from shared.cards.verdicts import Level
from shared.language import Catalogue
from shared.report.outcome import NO_ANSWER
from shared.report.page import TITLE
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from web.app import create_app
from web.http import language
from web.http.language import gettext, translate_code
from web.pages import stage, words
from worker.explain import agreement

TEMPLATES = sorted((REPOSITORY / "web" / "templates").rglob("*.html"))
REPORT = REPOSITORY / "shared" / "report" / "static"
SCRIPTS = sorted((REPOSITORY / "web" / "static").rglob("*.js"))
MODULES = sorted((REPOSITORY / "web").rglob("*.py"))
TRANSLATED = [name for name in locales.LANGUAGES if name != locales.ENGLISH]
SHIPPED = {
    path.parent.name for path in (REPOSITORY / "models").glob("*/card.json")
}  # models, by whose names titles are
UNTRANSLATED_CODES = {"malformed", "method_not_allowed", "not_ready"}  # of programs; their texts name the remedy


@pytest.fixture(params=TRANSLATED)
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    return locales.catalogue(request.param)


@pytest.fixture
def app() -> Flask:
    return Flask("empty")


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    bell = Bell(make_celery(settings))
    return create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry).test_client()


def in_templates() -> Iterator[str]:
    """Every sentence that a template says. A call without a literal sentence cannot be translated, and fails."""
    for path in TEMPLATES:
        for call in Environment().parse(path.read_text("utf-8")).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_":
                assert isinstance(call.args[0], nodes.Const), f"{path.name}:{call.lineno}"
                yield call.args[0].value


def in_modules() -> Iterator[str]:
    for path in MODULES:
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "_":
                assert isinstance(call.args[0], ast.Constant), f"{path.name}:{call.lineno}"
                yield str(call.args[0].value)


def in_scripts() -> Iterator[str]:
    for path in SCRIPTS:
        for call in re.finditer(r'(?<!function )\bsay\(\s*("(?:[^"\\]|\\.)*")?', path.read_text("utf-8")):
            assert call[1], f"{path.name} says something else than a sentence in double quotes at {call.start()}"
            yield ast.literal_eval(call[1])


def in_reports() -> Iterator[str]:
    yield from re.findall(r"{{ (.+?) }}", (REPORT / "report.html").read_text("utf-8"))
    for said in re.finditer(r'(?<!function )\bsay\("((?:[^"\\]|\\.)*)"', (REPORT / "report.js").read_text("utf-8")):
        yield said[1]
    yield from (TITLE, *NO_ANSWER.values())


def emitted_codes() -> set[str]:
    """The codes of warnings and errors, as the code that emits them writes them down."""
    pattern = r'(?:\bwarning\(\s*|JobError\(|"code": |\bcode = |\bcode=|[A-Z_]+ = (?="map_))"([a-z_]+)"'
    found = {*re.findall(pattern, sources()), *codes_of_templates()} - agreement.SENTENCES.keys() - UNTRANSLATED_CODES
    return found | SENTENCES.keys()


# By code, of all that workers say of answers; a page knows these codes by such a beginning.
SENTENCES = {f"verdict_{reason}": text for reason, text in verdicts.SENTENCES.items()} | {
    f"agreement_{code}": text for code, text in agreement.SENTENCES.items()
}
SENTENCES |= {method.label_code: method.label for method in CATALOGUE}
SENTENCES |= {method.hint_code: method.hint for method in CATALOGUE}


def codes_of_templates() -> Iterator[str]:
    for path in TEMPLATES:
        yield from re.findall(r'\btranslate_code\("(\w+)"', path.read_text("utf-8"))


def sources() -> str:
    """All code that emits codes."""
    folders = (REPOSITORY / name for name in ("shared", "web", "worker"))
    paths = (path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".lua"))
    return "".join(path.read_text("utf-8") for path in paths)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_every_sentence_of_the_pages_is_translated_and_no_translation_is_left_over(catalogue: Catalogue) -> None:
    assert set(catalogue.pages) == {*in_templates(), *in_modules()}


def test_every_sentence_of_the_scripts_is_translated_and_no_translation_is_left_over(catalogue: Catalogue) -> None:
    assert set(catalogue.scripts) == set(in_scripts())


def test_every_sentence_of_the_reports_is_translated_and_no_translation_is_left_over(catalogue: Catalogue) -> None:
    assert set(catalogue.reports) == set(in_reports())


def test_every_code_and_every_shipped_model_is_translated_and_none_is_left_over(
    catalogue: Catalogue,
) -> None:
    wanted = emitted_codes() | SHIPPED
    assert wanted <= set(catalogue.codes)
    written = sources()
    left_over = [code for code in set(catalogue.codes) - wanted if not re.search(f"""["']{code}["']""", written)]
    assert left_over == []


@pytest.mark.parametrize("code", SENTENCES)
def test_what_is_said_of_answers_is_said_in_every_language_with_the_same_parameters(
    catalogue: Catalogue, code: str
) -> None:
    assert places(catalogue.codes[code]) == places(SENTENCES[code])


@pytest.mark.parametrize("level", Level)
def test_every_verdict_has_a_word_in_every_language(app: Flask, level: Level) -> None:
    said = {level.value}
    for name in TRANSLATED:
        with app.test_request_context(f"/?lang={name}"):
            said.add(words.verdict(level))
    assert len(said) == 1 + len(TRANSLATED)


def test_every_text_of_the_shipped_cards_is_translated_and_none_is_left_over(
    catalogue: Catalogue, registry: Registry
) -> None:
    texts = {text for card in registry.cards.values() for text in texts_of(card)}
    assert set(catalogue.cards) == {text for text in texts if not text.startswith("https://")}


def texts_of(card: ModelCard) -> Iterator[str]:
    """What the page of the models shows of a card as it stands in it."""
    facts = card.facts
    found = [facts["accuracy"].get(key) for key in ("split", "data", "source")]
    found += [facts.get(key) for key in ("data", "good_for", "source", "recipe", "hash", "licence")]
    found.append(card.limits.data)
    if card.calibration:
        found += [card.calibration.data, *card.calibration.familiarity.detection]
    if card.hierarchy:
        found.append(card.hierarchy.origin)
    return filter(None, found)


def test_every_unit_of_a_map_has_words_of_the_readers(app: Flask) -> None:
    methods = "".join(path.read_text("utf-8") for path in (REPOSITORY / "worker" / "methods").glob("*.py"))
    units = set(re.findall(r'Attribution\(.*, "(\w+)", Guarantee', methods))
    assert {"logit", "activation"} <= units
    with app.test_request_context("/?lang=ja"):
        assert not [unit for unit in units if unit in stage.unit(unit)]


def test_a_sentence_in_two_places_is_translated_alike(catalogue: Catalogue) -> None:
    for sentence in set(catalogue.pages) & set(catalogue.scripts):
        assert catalogue.pages[sentence] == catalogue.scripts[sentence]


def test_translations_have_the_places_and_tags_of_their_sentences(catalogue: Catalogue) -> None:
    for sentence, translation in (*catalogue.pages.items(), *catalogue.scripts.items(), *catalogue.reports.items()):
        assert places(sentence) == places(translation), sentence
        tags = [sorted(re.findall(r"<[^>]+>", text)) for text in (sentence, translation)]
        assert tags[0] == tags[1], sentence


def test_no_sentence_breaks_out_of_an_attribute(catalogue: Catalogue) -> None:
    assert not [text for pair in catalogue.pages.items() for text in pair if '"' in re.sub(r"<[^>]+>", "", text)]


def test_no_template_that_others_import_fixes_the_language_of_its_words() -> None:
    """Jinja runs the top of an imported template once, for all readers."""
    trees = {path.name: Environment().parse(path.read_text("utf-8")) for path in TEMPLATES}
    imports = (node for tree in trees.values() for node in tree.find_all((nodes.Import, nodes.FromImport)))
    for name in {node.template.value for node in imports}:  # type: ignore[attr-defined]
        top = [part for part in trees[name].body if not isinstance(part, nodes.Macro)]
        called = {call.node.name for part in top for call in part.find_all(nodes.Call)}  # type: ignore[attr-defined]
        assert "_" not in called, name


@pytest.mark.parametrize(
    ("address", "cookie", "asked", "chosen"),
    [
        ("/", "", "", "en"),
        ("/", "", "fr, ja;q=0.5, en;q=0.4", "ja"),
        ("/", "", "fr", "en"),
        ("/", "", "ja-JP", "ja"),
        ("/", "en", "ja", "en"),
        ("/", "klingon", "ja", "ja"),
        ("/?lang=ja", "en", "en", "ja"),
        ("/?lang=klingon", "ja", "en", "ja"),
    ],
)
def test_the_language_is_that_of_the_address_else_the_cookie_else_the_browser(
    app: Flask, address: str, cookie: str, asked: str, chosen: str
) -> None:
    headers = {"Accept-Language": asked, "Cookie": f"{language.COOKIE}={cookie}"}
    with app.test_request_context(address, headers=headers):
        assert language.current() == chosen


def test_what_is_put_into_a_sentence_is_escaped() -> None:
    assert gettext("<b>{name}</b>", name="<i>") == "<b>&lt;i&gt;</b>"


def test_what_bears_a_code_is_said_by_it_else_in_english(app: Flask) -> None:
    params = {"confidence": 0.41, "threshold": 0.5}
    assert translate_code("low_confidence", "Unsure.", params) == "Unsure."
    with app.test_request_context("/?lang=ja"):
        assert "41%" in translate_code("low_confidence", "Unsure.", params)
        assert translate_code("low_confidence", "Unsure.", {"other": 1}) == "Unsure."
        assert translate_code("low_confidence", "Unsure.", {"confidence": "?", "threshold": "?"}) == "Unsure."
        assert translate_code("of_tomorrow", "Unsure.") == "Unsure."
        assert (
            translate_code("invalid_option", "tree: no {such}")
            == "オプションの値が正しくありません（tree: no {such}）。"
        )


# -- on pages ----------------------------------------------------------------------------------------------------------


def switch(page: str) -> dict[str, str]:
    """The address of the page in each other language."""
    return dict(re.findall(r'<a href="([^"]+)" hreflang="(\w+)"', page.partition('class="languages"')[2]))


def test_a_page_is_marked_with_its_language_and_offers_the_others(client: FlaskClient) -> None:
    page = client.get("/jobs/nothing", headers={"Accept-Language": "ja"})
    assert '<html lang="ja">' in page.text and "その説明は見つかりません" in page.text
    assert page.headers["Content-Language"] == "ja"
    assert {"accept-language", "cookie"} <= {name.lower() for name in page.vary}
    assert switch(page.text) == {"/jobs/nothing?lang=en": "en"}


def test_the_chosen_language_is_kept(client: FlaskClient) -> None:
    assert "HttpOnly" in client.get("/?lang=ja").headers.getlist("Set-Cookie")[-1]
    assert '<html lang="ja">' in client.get("/").text
    assert '<html lang="en">' in client.get("/?lang=en").text
    assert '<html lang="en">' in client.get("/", headers={"Accept-Language": "ja"}).text


def test_an_address_cannot_break_out_of_the_language_switch(client: FlaskClient) -> None:
    page = client.get('/jobs/"><script>?a="><script>&_scheme=x&_anchor=y&lang=ja').text
    assert "<script>" not in page.partition("<body>")[2]
