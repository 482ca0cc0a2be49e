"""Every page and state in both themes and languages, wide and narrow: no grave fault by axe, nothing wider than a small
telephone, dark where the reader wants it dark; and pictures for a person to look at."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex

import httpx
import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from shared.jobs import Claim, JobError, JobStatus
from shared.store.job_store import PREFIX
from tests.browser.conftest import (
    CONTRAST,
    LANGUAGES,
    NARROW,
    THEMES,
    WIDE,
    Front,
    Open,
    front,
    overflow,
    shoot,
    violations,
)
from tests.shared.submissions import collect, raw_client

FAILURES = (
    "invalid_image",
    "model_unavailable",
    "timeout",
    "out_of_memory",
    "worker_lost",
    "storage",
    "internal",
)  # as the contract names them
BRIGHTNESS = "name => Math.max(...getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).map(Number))"


def plain(path: str) -> Callable[[Page], object]:
    return lambda page: page.goto(path)


def options(page: Page) -> None:
    page.goto("/")
    unfold(page)


PLAIN: dict[str, Callable[[Page], object]] = {
    "form": plain("/"),
    "options": options,
    "missing": plain("/jobs/nothing"),
    "models": plain("/models"),
    "meaning": plain("/meaning"),
    "history-empty": plain("/history"),
}


def unfold(page: Page) -> None:
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")


def look(page: Page, name: str, language: str) -> None:
    """Check the page as it is, and keep its pictures. Colours are the same in every language, and all but colours in
    both themes, so that nothing is checked twice."""
    colours = language == "en"
    found = violations(page, rules={CONTRAST: {"enabled": colours}})
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        if theme == "dark" and colours:
            found += violations(page, runOnly=[CONTRAST])
        ground, ink = (page.evaluate(BRIGHTNESS, name) for name in ("backgroundColor", "color"))
        assert ground < 60 < 180 < ink if theme == "dark" else ink < 60 < 180 < ground
        shoot(page, f"{name}.{language}.{theme}")
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert overflow(page) <= 0
    shoot(page, f"{name}.{language}.narrow")
    page.set_viewport_size({"width": WIDE, "height": 800})
    assert found == []


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
    expect(page.locator(".answer").first).to_be_visible()
    page.goto("/history")
    expect(page.locator("#history .entry-answer")).not_to_be_empty()
    look(page, "history", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_is_in_order(open_page: Open, answered: str, language: str) -> None:
    page = open_page(answered, language=language)
    expect(page.locator("[data-part=legend]").first).to_be_visible()
    unfold(page)
    look(page, "answer", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_signing_in_is_in_order(open_page: Open, guarded: Front, language: str) -> None:
    look(open_page(language=language, base=guarded.address), "sign-in", language)


# -- jobs that no worker ends ------------------------------------------------------------------------------------------


class Waiting:
    """Jobs on a service without a worker, one at a time."""

    def __init__(self, idle: Front, file: FilePayload) -> None:
        self.store = idle.store
        self.address = f"{idle.address}/api/v1/jobs"
        self.files = {"image": (file["name"], file["buffer"], file["mimeType"])}

    def submit(self) -> str:
        """The path of the page of a new job."""
        return str(httpx.post(self.address, files=self.files).json()["links"]["page"])

    def claim(self) -> Claim:
        """The job, as a worker takes it."""
        (claim,) = self.store.claim(1, claim_id=token_hex())
        return claim


@pytest.fixture
def waiting(idle: Front, chelsea: FilePayload) -> Waiting:
    return Waiting(idle, chelsea)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_job_on_its_way_is_in_order(open_page: Open, idle: Front, waiting: Waiting, language: str) -> None:
    page = open_page(waiting.submit(), language=language, base=idle.address)
    expect(page.locator("#position")).to_have_text("1")
    look(page, "queued", language)
    claim = waiting.claim()
    idle.store.report([claim], done=41, total=257, stage="scorecam")
    expect(page.locator("#progress")).to_have_attribute("value", "41")
    look(page, "running", language)
    idle.store.stop(claim, JobStatus.CANCELLED)
    expect(page.locator("#progress")).to_have_count(0)  # a browser that is closed on its way to a page may hang


def test_whoever_is_on_the_way_to_another_page_is_not_called_back_by_the_jobs_end(
    open_page: Open, idle: Front, waiting: Waiting
) -> None:
    page = open_page(waiting.submit(), base=idle.address)
    claim = waiting.claim()
    expect(page.locator("#follow [data-when=running]").first).to_be_visible()

    def end_meanwhile(route: Route) -> None:
        idle.store.stop(claim, JobStatus.CANCELLED)
        time.sleep(1)
        route.continue_()

    page.route("**/history", end_meanwhile)
    page.get_by_role("link", name="History").click()
    expect(page).to_have_url(re.compile("/history$"))


@pytest.mark.parametrize("language", LANGUAGES[:1])  # that every sentence has its translation is another test's
def test_every_way_to_end_without_an_answer_is_told(
    open_page: Open, idle: Front, waiting: Waiting, language: str
) -> None:
    page = open_page("/healthz", language=language, base=idle.address)
    titles = set()
    for code in FAILURES:
        path = waiting.submit()
        idle.store.fail(waiting.claim(), JobError(code, "It went wrong."))
        titles.add(see(page, path, f"{code}.{language}"))
    for status in (JobStatus.CANCELLED, JobStatus.EXPIRED):
        path = waiting.submit()
        idle.store.stop(waiting.claim(), status)
        titles.add(see(page, path, f"{status}.{language}"))
    assert len(titles) == len(FAILURES) + 2
    look(page, "ended", language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_kept_and_what_cannot_be_taken_is_told(
    open_page: Open, idle: Front, waiting: Waiting, chelsea: FilePayload, language: str
) -> None:
    path = waiting.submit()
    idle.store.stop(waiting.claim(), JobStatus.CANCELLED)
    with front(replace(idle.settings, queue_limit=0)) as full:
        page = open_page(path, language=language, base=full.address)
        page.locator("form button").click()
        look(page, "full", language)
        page.goto("/")
        page.locator("input[type=file][name=image]").set_input_files(chelsea)
        page.locator("#send").click()
        expect(page.locator("#error")).to_contain_text(
            {"en": "jobs are waiting already", "ja": "順番待ちがいっぱいです"}[language]
        )
        look(page, "refused", language)
    forget(idle, path)
    page = open_page(path, language=language, base=idle.address)
    look(page, "gone", language)
    with front(replace(idle.settings, home=idle.settings.home / "elsewhere")) as cut_off:
        look(open_page(path, language=language, base=cut_off.address), "cut-off", language)


def forget(idle: Front, path: str) -> None:
    """As if the retention of a job had passed."""
    job_id = path.rpartition("/")[2]
    with raw_client(idle.settings) as raw:
        raw.zadd(f"{PREFIX}expiry", {job_id: 1})
    assert collect(idle.store) == [job_id]


def see(page: Page, path: str, name: str) -> str:
    """Keep a picture of the page; its title."""
    page.goto(path)
    shoot(page, name)
    return page.locator("h1").inner_text()
