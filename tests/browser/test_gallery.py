"""Every page and state in both themes and languages: no grave fault by axe, and a picture for a person to look at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import LANGUAGES, PATIENCE_MS, THEMES, Open, finished, shoot, violations
from tests.flow.conftest import Service


def form(page: Page) -> None:
    page.goto("/")


def options(page: Page) -> None:
    page.goto("/")
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")


PLAIN: dict[str, Callable[[Page], object]] = {
    "form": form,
    "options": options,
    "missing": lambda page: page.goto("/jobs/nothing"),
    "models": lambda page: page.goto("/models"),
    "meaning": lambda page: page.goto("/meaning"),
    "history-empty": lambda page: page.goto("/history"),
}


def look(page: Page, name: str, language: str) -> None:
    """Check the page as it is, and keep its pictures in both themes."""
    found = {}
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        if language == "en" or theme == "light":  # colours are the same in every language
            found[theme] = violations(page)
        shoot(page, f"{name}.{language}.{theme}")
    assert not any(found.values()), found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", PLAIN)
def test_a_page_is_in_order(open_page: Open, name: str, language: str) -> None:
    page = open_page("/healthz", language=language)
    PLAIN[name](page)
    look(page, name, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_form_with_a_picture_is_in_order(open_page: Open, chelsea: FilePayload, language: str) -> None:
    page = open_page(language=language)
    page.locator("input[type=file][name=image]").set_input_files(chelsea)
    look(page, "chosen", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_history_is_in_order(open_page: Open, chelsea: FilePayload, language: str) -> None:
    page = open_page(language=language)
    page.locator("input[type=file][name=image]").set_input_files(chelsea)
    page.locator("button[type=submit]").click()
    page.wait_for_url("**/jobs/*")
    page.goto("/history")
    expect(page.locator("#history .entry-answer")).not_to_be_empty()
    look(page, "history", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_is_in_order(open_page: Open, answered: str, language: str) -> None:
    page = open_page(answered, language=language)
    expect(page.locator(".answer").first).to_be_visible(timeout=PATIENCE_MS)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    look(page, "answer", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_failure_is_in_order(open_page: Open, service: Service, broken: FilePayload, language: str) -> None:
    files = {"image": (broken["name"], broken["buffer"], broken["mimeType"])}
    job = service.client.post("/api/v1/jobs", files=files).json()
    look(open_page(finished(service, job["links"]["self"]), language=language), "failed", language)
