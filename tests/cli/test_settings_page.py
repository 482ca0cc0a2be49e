"""The page of settings is what the code says."""

from __future__ import annotations

from dataclasses import fields

from click.testing import CliRunner

from cli.main import main
from cli.settings_page import HEADINGS, page
from shared.settings import REPOSITORY, Settings, variable


def test_the_page_is_what_the_code_says() -> None:
    assert (REPOSITORY / "docs" / "settings.md").read_text("utf-8") == page(), "run: make settings-page"


def test_every_setting_has_a_sentence_and_every_section_begins_with_one() -> None:
    assert all(one.metadata["text"].endswith(".") for one in fields(Settings))
    assert HEADINGS.keys() <= {one.name for one in fields(Settings)}
    assert next(iter(HEADINGS)) == fields(Settings)[0].name


def test_the_command_shows_each_setting_with_its_value_here_but_no_secret() -> None:
    secret = "a secret key of more than thirty-two characters"
    environment = {"PATHLIGHT_BATCH_SIZE": "5", "PATHLIGHT_SIGNING_KEY": secret, "COLUMNS": "200"}
    shown = CliRunner(env=environment).invoke(main, ["settings"]).output
    assert all(variable(one.name) in shown for one in fields(Settings))
    row = next(line for line in shown.splitlines() if "PATHLIGHT_BATCH_SIZE" in line)
    assert " 5 " in row
    assert secret not in shown and "(set)" in shown
