"""Sure answers and verdicts in a real Chromium: asked for by the form, of groups of classes, kept in the list."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.conftest import CONTRAST, THEMES, Open, finished, shoot, violations
from tests.browser.test_reader import give, see_answer
from tests.flow.conftest import Service

IMAGENET, CIFAR = "efficientnet-lite0-imagenet", "nbdt-cifar10"
IN_BRIEF = {
    "en": "domestic cat, most likely tiger cat (with care); cat (believe)",
    "ja": "domestic cat（最も確率が高いのは tiger cat）［注意して読む］; cat［信じてよい］",
}
LEVELS = "level => { for (const word of document.querySelectorAll('.word')) word.className = `word ${level}`; }"


@pytest.fixture(scope="module")
def sure_answer(service: Service, chelsea: FilePayload) -> str:
    """The address of what both default models answer about chelsea, the sure answer of each explained."""
    files = {"image": (chelsea["name"], chelsea["buffer"], chelsea["mimeType"])}
    job = service.client.post("/api/v1/jobs", files=files, data={"target": "sure"}).json()
    return finished(service, job["links"]["self"])


@pytest.fixture
def page(open_page: Open, sure_answer: str) -> Iterator[Page]:
    page = open_page(sure_answer)
    expect(page.locator("[data-part=legend]").first).to_be_visible()  # its map is drawn
    yield page


def answer_of(page: Page, model: str) -> Locator:
    return page.locator(f".answer[data-model={model}]")


def subject(answer: Locator) -> Locator:
    return answer.locator(".evidence h3")


@pytest.mark.parametrize("scripts", [True, False])
def test_the_form_asks_about_the_sure_answer(open_page: Open, chelsea: FilePayload, scripts: bool) -> None:
    page = open_page(scripts=scripts)
    give(page, chelsea)
    page.wait_for_url("**/jobs/*")
    see_answer(page)
    answer = answer_of(page, IMAGENET)
    expect(answer.locator("h2")).to_have_text("domestic cat, most likely tiger cat")
    expect(answer.locator(".verdict .word")).to_have_text("with care")
    expect(subject(answer)).to_have_text("Which pixels: the evidence for domestic cat")
    expect(page.locator(".agreement li")).to_have_count(1)
    expect(page).to_have_title(f"{IN_BRIEF['en']} · Pathlight")


def test_a_step_of_the_path_is_explained_in_place_and_the_sure_answer_comes_back(page: Page) -> None:
    answer = answer_of(page, IMAGENET)
    answer.get_by_role("button", name="Explain feline").click()
    expect(subject(answer)).to_have_text("Which pixels: the evidence for feline")
    expect(answer.get_by_text("feline: 13 classes together")).to_be_visible()
    answer.locator("header").get_by_role("button", name="Explain domestic cat").click()
    expect(subject(answer)).to_have_text("Which pixels: the evidence for domestic cat")
    assert violations(page) == []


def test_without_scripts_a_step_of_the_path_is_explained_on_a_page_of_its_own(
    open_page: Open, sure_answer: str
) -> None:
    page = open_page(sure_answer, scripts=False)
    answer_of(page, IMAGENET).get_by_role("button", name="Explain feline").click()
    expect(subject(answer_of(page, IMAGENET))).to_have_text("Which pixels: the evidence for feline")


def test_the_verdict_stays_where_another_class_is_explained_in_place(page: Page) -> None:
    answer = answer_of(page, CIFAR)
    said = answer.locator(".verdict").inner_text()
    assert "EfficientNet-Lite0 on ImageNet-1K agrees" in said
    answer.get_by_role("button", name="Explain dog").click()
    expect(subject(answer)).to_have_text("Which pixels: the evidence for dog")
    expect(answer.locator(".verdict")).to_have_text(re.compile("believe.*agrees", re.S))
    assert answer.locator(".verdict").inner_text() == said


def test_a_group_is_compared_with_a_class_outside_it(page: Page) -> None:
    answer = answer_of(page, IMAGENET)
    answer.get_by_role("button", name="Compare the two").click()
    captions = answer.locator(".comparison figcaption")
    expect(captions).to_have_text(["domestic cat", "lynx", "domestic cat rather than lynx"])


def test_what_if_a_part_of_the_evidence_for_a_group_were_hidden(page: Page) -> None:
    answer = answer_of(page, IMAGENET)
    answer.get_by_text("What if a part were hidden?").click()
    answer.get_by_role("button", name="Hide the hottest region").press("Enter")
    answer.get_by_role("button", name="Ask again").click()
    captions = answer.locator(".differences figcaption")
    expect(captions).to_have_text(["Before: domestic cat", "Now: domestic cat"])


@pytest.mark.parametrize("language", IN_BRIEF)
def test_the_list_of_the_browser_has_the_sure_answer_and_the_verdicts_word(
    open_page: Open, chelsea: FilePayload, language: str
) -> None:
    page = open_page(language=language)
    page.locator("input[type=file][name=image]").set_input_files(chelsea)
    page.locator("#send").click()
    page.wait_for_url("**/jobs/*")
    see_answer(page)
    page.goto("/history")
    expect(page.locator(".entry-answer")).to_have_text(IN_BRIEF[language].replace(";", ""))


@pytest.mark.parametrize("theme", THEMES)
def test_the_word_of_every_verdict_can_be_read(page: Page, theme: str) -> None:
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    for level in ("believe", "care", "guess", "foreign"):
        page.evaluate(LEVELS, level)
        assert violations(page, runOnly=[CONTRAST]) == []
        shoot(page, f"verdict-{level}.{theme}")
