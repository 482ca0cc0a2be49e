"""What a reader does with the pages in a real Chromium: with and without a mouse, scripts, light and room."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import Open, violations

FIRST_PAINT_MS = 1000
LOADS = 8  # of which one in time counts: the others may have met a busy machine
BYTES_BEFORE_PICTURES = 100_000
ANSWER = ".answer"

# Sizes as they came over the wire, headers included, of everything but pictures.
WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .filter((entry) => entry.initiatorType !== "img").reduce((sum, entry) => sum + entry.transferSize, 0)"""
PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
    const paint = list.getEntriesByName("first-contentful-paint")[0]; if (paint) resolve(paint.startTime);
}).observe({ type: "paint", buffered: true }))"""


def give(page: Page, file: FilePayload) -> None:
    page.locator("input[type=file][name=image]").set_input_files(file)
    page.get_by_role("button", name="Explain", exact=True).click()


def see_answer(page: Page) -> None:
    expect(page.locator(ANSWER).first).to_be_visible()


def test_a_photograph_is_given_and_its_answer_seen(open_page: Open, chelsea: FilePayload) -> None:
    page = open_page()
    give(page, chelsea)
    page.wait_for_url("**/jobs/*")
    see_answer(page)
    expect(page).to_have_title(re.compile("cat"))
    expect(page.get_by_role("img", name=re.compile("Map of the evidence for")).first).to_be_visible()


def test_without_scripts_a_photograph_is_given_and_its_answer_seen(open_page: Open, chelsea: FilePayload) -> None:
    page = open_page(scripts=False)
    give(page, chelsea)
    page.wait_for_url("**/jobs/*")
    see_answer(page)


def test_with_the_keyboard_alone_a_photograph_is_given_and_its_answer_seen(
    open_page: Open, chelsea: FilePayload
) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "input[type=file]")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(chelsea)
    tab_to(page, "button[type=submit]")
    page.keyboard.press("Enter")
    see_answer(page)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_a_picture_that_breaks_off_is_said_to_be_unreadable(open_page: Open, broken: FilePayload) -> None:
    page = open_page()
    give(page, broken)
    expect(page.get_by_role("heading", name="The picture could not be read")).to_be_visible()


def test_a_file_that_is_no_picture_is_refused_on_the_form(open_page: Open) -> None:
    page = open_page()
    give(page, {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    expect(page.get_by_role("alert")).to_have_text("The file is not a JPEG, PNG or WebP picture.")


def test_the_documentation_of_the_api_is_drawn_from_our_own_files(open_page: Open) -> None:
    page = open_page("/api/v1/docs")
    expect(page.locator(".opblock").first).to_be_visible()


def test_the_first_page_is_small_and_shown_at_once(open_page: Open) -> None:
    paints: list[float] = []
    while min(paints, default=FIRST_PAINT_MS) >= FIRST_PAINT_MS and len(paints) < LOADS:
        page = open_page()
        paints.append(page.evaluate(PAINT))
        assert 0 < page.evaluate(WEIGHT) <= BYTES_BEFORE_PICTURES
    assert min(paints) < FIRST_PAINT_MS


def test_an_answer_is_small_before_its_pictures(open_page: Open, answered: str) -> None:
    assert 0 < open_page(answered).evaluate(WEIGHT) <= BYTES_BEFORE_PICTURES


def test_the_reader_switches_the_language_and_it_stays(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("link", name="日本語").click()
    expect(page.locator("html")).to_have_attribute("lang", "ja")
    page.goto("/jobs/nothing")
    expect(page.get_by_role("heading", level=1)).to_have_text("その説明は見つかりません")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_browser_chooses_the_language_at_first(open_page: Open, language: str) -> None:
    page = open_page(language=language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert violations(page) == []
