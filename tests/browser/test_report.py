"""The report on ten thousand pictures, opened from a folder in a real Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from shared.cards.card import Registry
from shared.drawing.maps import Style, entry_overlay
from shared.images.decode import Photo
from shared.jobs import JobError, JobOptions, JobStatus
from shared.report.evidence import ClassMaps
from shared.report.outcome import Outcome
from shared.report.page import Report, render
from shared.report.rows import known_models, to_row
from tests.browser.conftest import AXE, LANGUAGES, NARROW, OUT, QUALITY, overflow
from tests.conftest import wait_for
from worker.engine.model_cache import ModelCache
from worker.explain.answers import answer
from worker.explain.query import Query

MODELS = ("resnet18-photos100", "nbdt-cifar10")
ROWS = 10_000
FIRST_SCREEN_SECONDS = 2.0
FIRST_SCREEN_IS_DRAWN = """() => [...document.images]
    .filter((image) => image.getBoundingClientRect().top < innerHeight)
    .every((image) => image.complete && image.naturalWidth > 0)"""
LABELS = ("cat", "ship", "dog", None)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, registry: Registry, photos: dict[str, Image.Image]) -> Path:
    """Answers to four photographs over and over, each time under another name and label; some failed."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "report" / "thumbs").mkdir(parents=True)
    options = JobOptions(MODELS)
    results = answer(ModelCache(registry), [Query(Photo.whole(picture), options) for picture in photos.values()])
    known = known_models(registry, MODELS)
    maps = ClassMaps()
    found = []
    for (name, picture), result in zip(photos.items(), results, strict=True):
        outcome = Outcome(name, JobStatus.SUCCEEDED, answer=result.answer, maps=result.maps)
        maps.add(outcome)
        first = outcome.explanations[0]
        drawn = entry_overlay(first.maps[0], outcome.maps, picture, first.input.box, style=Style(width=144))
        drawn.save(folder / "report" / "thumbs" / f"{name}.jpg")
        found.append([to_row(replace(outcome, label=label), known) for label in LABELS])
    broken = to_row(Outcome("broken", JobStatus.FAILED, error=JobError("invalid_image", "It is no picture.")), known)
    rows, thumbs = [], []
    for number in range(ROWS):
        row = broken if number % 100 == 99 else found[number % 4][number // 4 % 4]
        rows.append({**row, "path": f"folder/{number:05d}.jpg"})
        thumbs.append([f"report/thumbs/{list(photos)[number % 4]}.jpg"] * len(MODELS))
    for language in LANGUAGES:
        page = render(Report("ten thousand", MODELS, rows, maps, thumbs, language))
        (folder / f"report.{language}.html").write_text(page, "utf-8")
    return folder / "report.en.html"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test where it asks anything but files, breaks its policy or throws."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    faults: list[str] = []
    context.on(
        "request", lambda request: faults.extend([request.url] * (not request.url.startswith(("file:", "data:"))))
    )
    context.on("weberror", lambda error: faults.append(f"thrown: {error.error}"))
    context.on("console", lambda said: faults.append(said.text))
    yield context.new_page()
    context.close()
    assert faults == []


@pytest.mark.alone
def test_ten_thousand_pictures_show_their_first_screen_within_two_seconds(page: Page, report: Path) -> None:
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(report.as_uri(), wait_until="commit")
    page.locator("#gallery li").nth(35).wait_for()
    wait_for(lambda: bool(page.evaluate(FIRST_SCREEN_IS_DRAWN)), seconds=30)
    seconds = time.monotonic() - began
    OUT.mkdir(exist_ok=True)
    page.screenshot(path=OUT / "report.jpg", type="jpeg", quality=QUALITY)
    assert seconds < FIRST_SCREEN_SECONDS
    assert page.locator("#shown").inner_text() == "10000 of 10000 pictures"
    assert page.locator("#page").inner_text() == "1 of 278"


def test_filters_pages_and_models_work(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    page.get_by_label("failed").check()
    assert page.locator("#shown").inner_text() == "100 of 10000 pictures"
    assert "It is no picture." in page.locator("#gallery li").first.inner_text()
    page.get_by_label("failed").uncheck()
    page.get_by_label("wrong").check()
    wrong = page.locator("#gallery li").first.inner_text()
    assert "wrong" in wrong and "labelled" in wrong
    page.get_by_label("wrong").uncheck()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#page").inner_text() == "2 of 278"
    page.get_by_label("Name or label").fill("00042")
    assert page.locator("#shown").inner_text() == "1 of 10000 pictures"
    page.get_by_label("Name or label").fill("")
    assert page.locator("#confusion tbody tr").count() == 3, "the labels that the tree model knows"
    page.get_by_label("Model").select_option("resnet18-photos100")
    page.get_by_label("Predicted class").select_option(label="espresso")
    assert "espresso" in page.locator("#gallery li").first.inner_text()


def test_the_report_is_accessible_in_both_themes(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        found = AXE.run(page)
        assert found.violations_count == 0, found.generate_report()
        page.screenshot(path=OUT / f"report.{theme}.jpg", type="jpeg", quality=QUALITY, full_page=True)
    page.goto(report.with_name("report.ja.html").as_uri())
    page.get_by_label("不正解").check()
    page.screenshot(path=OUT / "report.ja.jpg", type="jpeg", quality=QUALITY, full_page=True)
    page.set_viewport_size({"width": NARROW, "height": 800})
    for language in LANGUAGES:
        page.goto(report.with_name(f"report.{language}.html").as_uri())
        assert overflow(page) <= 0
        page.screenshot(path=OUT / f"report.{language}.narrow.jpg", type="jpeg", quality=QUALITY)
