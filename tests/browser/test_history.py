"""This browser's history: what was given here and nothing else, gone where the server has it no more."""

from __future__ import annotations

import json

from playwright.sync_api import FilePayload, expect

from tests.browser.conftest import Open
from tests.browser.test_reader import give, see_answer


def test_what_was_given_in_this_browser_is_listed_with_its_picture_and_answer(
    open_page: Open, chelsea: FilePayload
) -> None:
    page = open_page()
    give(page, chelsea)
    page.wait_for_url("**/jobs/*")
    see_answer(page)
    address = page.url
    page.goto("/history")
    entry = page.locator("#history a")
    expect(entry).to_have_count(1)
    expect(entry).to_contain_text("chelsea.png")
    expect(entry.locator(".entry-answer")).to_contain_text("cat")
    assert entry.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 192
    entry.click()
    expect(page).to_have_url(address)


def test_a_new_reader_sees_nobodys_list(open_page: Open, answered: str) -> None:
    page = open_page(answered)  # by a link that somebody shared
    page.goto("/history")
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    expect(page.locator("#history li")).to_have_count(0)


def test_an_answer_that_is_no_longer_kept_leaves_the_list(open_page: Open) -> None:
    page = open_page("/history")
    old = json.dumps([{"id": "gone", "filename": "old.png", "at": "2026-01-01T00:00:00Z"}])
    page.evaluate("old => localStorage.setItem('pathlight-history', old)", old)
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("taken off the list: 1")
    expect(page.locator("#history li")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()


def test_the_list_can_be_emptied(open_page: Open, chelsea: FilePayload) -> None:
    page = open_page()
    give(page, chelsea)
    page.wait_for_url("**/jobs/*")
    see_answer(page)
    page.goto("/history")
    page.get_by_role("button", name="Empty this list").click()
    expect(page.locator("#history li")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
