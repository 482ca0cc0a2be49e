"""Giving pictures in a real Chromium: many at once, a sample, a broken one among them; and following and stopping."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import Open, shoot, violations
from tests.conftest import encoded
from tests.flow.conftest import Service

LONG = {"methods": ["rise", "scorecam"], "trust": "full"}  # a job that can be watched


@pytest.fixture(scope="module")
def three(photos: Mapping[str, Image.Image]) -> list[FilePayload]:
    names = ("chelsea", "coffee", "rocket")
    return [{"name": f"{n}.png", "mimeType": "image/png", "buffer": encoded(photos[n])} for n in names]


def choose(page: Page, files: list[FilePayload]) -> None:
    page.locator("#image").set_input_files(files)


def explain(page: Page) -> None:
    page.get_by_role("button", name="Explain", exact=True).click()


def long_job(service: Service, chelsea: FilePayload) -> str:
    """The page of a job that takes a while."""
    files = {"image": (chelsea["name"], chelsea["buffer"], chelsea["mimeType"])}
    return str(service.client.post("/api/v1/jobs", files=files, data=LONG).json()["links"]["page"])


def test_three_pictures_are_given_at_once_and_each_is_answered(open_page: Open, three: list[FilePayload]) -> None:
    page = open_page()
    choose(page, three)
    expect(page.locator("#previews img")).to_have_count(3)
    explain(page)
    page.wait_for_url("**/several?*")
    expect(page.locator("#state")).to_have_text("3 of 3 are done.")
    expect(page.locator("#jobs .name")).to_have_text(["chelsea.png", "coffee.png", "rocket.png"])
    assert violations(page) == []
    shoot(page, "several.en")
    page.get_by_role("link", name="coffee.png").click()
    expect(page.locator(".answer").first).to_be_visible()


def test_without_scripts_several_pictures_are_given_too(open_page: Open, three: list[FilePayload]) -> None:
    page = open_page(scripts=False)
    choose(page, three[:2])
    explain(page)
    expect(page.locator("#state")).to_have_text("2 of 2 are done.")


def test_a_broken_file_among_others_is_named_and_the_others_are_taken(
    open_page: Open, three: list[FilePayload]
) -> None:
    page = open_page()
    choose(page, [three[0], {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}])
    explain(page)
    expect(page.get_by_role("alert")).to_have_text("1 of 2 pictures were refused; the list says why.")
    sent = page.locator("#sent li")
    expect(sent.nth(1)).to_contain_text("The file is not a JPEG, PNG or WebP picture.")
    sent.nth(0).get_by_role("link").click()
    expect(page.locator(".answer").first).to_be_visible()


def test_a_dropped_picture_is_chosen(open_page: Open, photos: Mapping[str, Image.Image]) -> None:
    page = open_page()
    page.evaluate(
        """bytes => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            document.querySelector("#zone").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        list(encoded(photos["chelsea"].resize((48, 32)))),
    )
    expect(page.locator("#name")).to_have_text("dropped.png")
    expect(page.get_by_alt_text("Preview of dropped.png")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_sample_is_explained_with_one_click(open_page: Open, scripts: bool) -> None:
    page = open_page(scripts=scripts)
    page.get_by_role("button", name="Chelsea the cat").click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator(".answer").first).to_be_visible()


def test_a_form_without_a_picture_says_what_is_missing(open_page: Open) -> None:
    page = open_page()
    explain(page)
    expect(page.get_by_role("alert")).to_have_text("Choose a picture first.")


def test_a_running_job_shows_how_far_it_is_and_can_be_stopped(
    open_page: Open, service: Service, chelsea: FilePayload
) -> None:
    page = open_page(long_job(service, chelsea))
    expect(page.locator("#progress[value]")).to_be_visible()
    expect(page).to_have_title(re.compile(r"^\d+%"))
    page.locator("#follow button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This job was cancelled")


def test_where_no_event_stream_can_be_had_the_page_polls(
    open_page: Open, service: Service, chelsea: FilePayload
) -> None:
    page = open_page("/healthz")
    page.route("**/events", lambda route: route.abort())
    page.goto(long_job(service, chelsea))
    expect(page.locator("#progress[value]")).to_be_visible()
    page.locator("#follow button").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This job was cancelled")
