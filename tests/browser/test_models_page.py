"""The page of the models: the button that fetches one, and its progress, with scripts and without."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from shared.store.fetches import Fetch, FetchState
from shared.store.job_store import Role
from tests.browser.conftest import Front, Open

NAME, BUTTON = "resnet18-imagenet", "Fetch the weights now"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_the_button_shows_how_far_the_fetch_is_until_it_failed_and_can_be_tried_again(
    open_page: Open, idle: Front, scripts: bool
) -> None:
    fetches = idle.store.fetches
    idle.store.heartbeat("fetcher@here", role=Role.FETCHER)
    page = open_page("/models", base=idle.address, scripts=scripts)
    section = page.locator(f"section#{NAME}")
    section.get_by_role("button", name=BUTTON).click()
    page.wait_for_url(f"**/models#{NAME}")
    expect(section).to_contain_text("It will be fetched shortly.")
    assert fetches.claim(claim_id="a") == NAME
    for done in (10_000_000, 20_000_000):
        fetches.report(NAME, Fetch(FetchState.RUNNING, done, 46_800_000), claim_id="a")
        expect(section).to_contain_text(f"Fetched {done / 1e6:.1f} of 46.8 MB")
    expect(section.get_by_role("progressbar")).to_have_attribute("value", "20000000")
    fetches.report(NAME, Fetch(FetchState.FAILED, error="example.org cannot be reached"), claim_id="a")
    expect(section).to_contain_text("Example.org cannot be reached.")
    expect(section.get_by_role("button", name=BUTTON)).to_be_visible()
