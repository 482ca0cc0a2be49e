"""Where keys are required: a reader signs in, and everything that the pages do goes on working."""

from __future__ import annotations

from playwright.sync_api import FilePayload, expect

from shared.store.keys import Scope
from tests.browser.conftest import Front, Open
from tests.browser.test_reader import give, see_answer
from tests.browser.test_result import ASK_BY_RISE, legend, tree_answer


def test_a_reader_signs_in_gives_a_picture_asks_about_it_and_cancels(
    open_page: Open, guarded: Front, chelsea: FilePayload
) -> None:
    _, key = guarded.store.keys.create("reader", [Scope.READ, Scope.SUBMIT])
    page = open_page(base=guarded.address)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("ResNet18 on 100 classes").uncheck()
    give(page, chelsea)
    see_answer(page)
    answer = tree_answer(page)
    expect(legend(answer).first).to_be_visible()  # the page's scripts are at work

    answer.get_by_text("What if a part were hidden?").click()
    answer.get_by_role("button", name="Hide the hottest region").click()
    answer.get_by_role("button", name="Ask again").click()
    expect(answer.locator(".differences")).to_be_visible()

    answer.locator("form.ranking").evaluate(ASK_BY_RISE)
    answer.get_by_role("button", name="Explain dog").click()
    page.locator("#asking").get_by_role("button", name="Cancel").click()
    expect(page.locator("#asking")).to_be_hidden()

    page.goto("/")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("RISE").check()
    give(page, chelsea)
    page.locator("#follow").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This job was cancelled")
