"""Versions of models that were replaced or removed: none goes that an unfinished job names, or that counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shared.blobs.blob_store import Swept
from shared.cards.card import Registry
from shared.cards.declarations import Declaration, declare, withdraw
from shared.cards.versions import REMOVED, WEIGHTS, changing, mark_removed, versions
from shared.errors import AlreadyRunning, InvalidSetting
from shared.settings import Settings
from shared.store.retired import sweep
from tests.shared.cards import write_card
from tests.shared.test_registry import ENTRY, add


def remove(settings: Settings, name: str = "pets") -> None:
    mark_removed(settings.registry / name)
    withdraw(settings.own_models, name)


def titles(settings: Settings, name: str = "pets") -> set[str]:
    return {(path / WEIGHTS).read_text("utf-8") for path in versions(settings.registry / name)}


def test_what_was_replaced_goes_but_for_what_a_job_names_and_what_counts(settings: Settings) -> None:
    add(settings, "gone")
    named = add(settings, "named", entry=ENTRY | {"size": 96})
    add(settings, "current")
    swept = sweep(settings, lambda: {("pets", named), ("birds", "x")}, older_than=-1)
    assert swept.files == 3 and swept.bytes > 0
    assert titles(settings) == {"named", "current"}
    sweep(settings, set, older_than=-1)
    assert titles(settings) == {"current"} and Registry.load(settings).ready("pets").title == "current"


def test_what_was_removed_goes_with_its_folder_once_no_job_names_it(settings: Settings) -> None:
    version = add(settings, "mine")
    remove(settings)
    sweep(settings, lambda: {("pets", version)}, older_than=-1)
    assert titles(settings) == {"mine"}
    sweep(settings, set, older_than=-1)
    assert not (settings.registry / "pets").exists()


def test_a_dry_run_says_what_would_go_and_leaves_it(settings: Settings) -> None:
    add(settings, "mine")
    remove(settings)
    assert sweep(settings, set, older_than=-1, dry_run=True).files == 3
    assert titles(settings) == {"mine"}


def test_nothing_goes_within_the_grace(settings: Settings) -> None:
    add(settings, "first")
    add(settings, "second")
    assert sweep(settings, set, older_than=60) == Swept()
    (pointer,) = settings.registry.glob("pets/entry-*")
    os.utime(pointer, (time.time() - 61, time.time() - 61))
    assert sweep(settings, set, older_than=60).files == 3


def test_a_model_that_was_added_again_after_its_removal_stays(settings: Settings) -> None:
    add(settings, "first")
    remove(settings)
    add(settings, "again")
    assert not (settings.registry / "pets" / REMOVED).exists()
    sweep(settings, set, older_than=-1)
    assert titles(settings) == {"again"}


def test_an_entry_that_was_changed_or_taken_out_by_hand_costs_no_version(settings: Settings) -> None:
    add(settings, "mine")
    declare(settings.own_models, Declaration("pets", ENTRY | {"size": 64}, settings.home))
    assert sweep(settings, set, older_than=-1) == Swept()
    withdraw(settings.own_models, "pets")
    assert sweep(settings, set, older_than=-1) == Swept()
    declare(settings.own_models, Declaration("pets", ENTRY, settings.home))
    assert Registry.load(settings).ready("pets").title == "mine"


def test_an_entry_that_names_a_version_no_more_there_is_as_if_it_was_never_checked(settings: Settings) -> None:
    other = ENTRY | {"size": 96}
    add(settings, "first", entry=other)
    add(settings, "second")
    sweep(settings, set, older_than=-1)
    declare(settings.own_models, Declaration("pets", other, settings.home))
    assert "pets" in Registry.load(settings).unchecked


def test_a_model_of_an_earlier_pathlight_goes_like_a_version(settings: Settings) -> None:
    path = write_card(settings.registry, declared=ENTRY)
    path.with_name(WEIGHTS).write_text("earlier", "utf-8")
    add(settings, "new")
    assert titles(settings) == {"earlier", "new"}
    sweep(settings, set, older_than=-1)
    assert titles(settings) == {"new"} and Registry.load(settings).ready("pets").title == "new"
    write_card(settings.registry, name="undeclared")
    sweep(settings, set, older_than=-1)
    assert versions(settings.registry / "undeclared"), "nobody has removed it"


def test_where_the_models_cannot_be_read_or_are_being_changed_nothing_goes(settings: Settings) -> None:
    add(settings, "first")
    add(settings, "second")
    with changing(settings.registry), pytest.raises(AlreadyRunning, match="the models are being changed or backed up"):
        sweep(settings, set, older_than=-1)
    settings.own_models.write_text("[pets", "utf-8")
    with pytest.raises(InvalidSetting):
        sweep(settings, set, older_than=-1)
    assert titles(settings) == {"first", "second"}


def test_without_models_of_ones_own_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert sweep(Settings(home=tmp_path), set, older_than=-1) == Swept() and not list(tmp_path.iterdir())
