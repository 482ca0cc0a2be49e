"""The registry of a process that goes on: it follows the files, and never shows half a model."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.cards.card import Registry
from shared.cards.declarations import Declaration, declare, withdraw
from shared.cards.registry import LiveRegistry
from shared.cards.versions import CARD, TREE, WEIGHTS, changing, put
from shared.errors import InvalidOption, ModelUnavailable
from shared.settings import Settings
from tests.shared.cards import CARD as FIELDS
from tests.shared.cards import write_card

ENTRY = {"architecture": "timm/test_resnet", "weights": "w.pth"}


def live(settings: Settings) -> LiveRegistry:
    """One that looks at the files whenever it is asked."""
    return LiveRegistry(settings, look_seconds=0)


def tree_of(label: str) -> dict[str, Any]:
    nodes = [{"id": "r", "children": ["a", "b"]}, {"id": "a", "class": 0}, {"id": "b", "class": 1}]
    return {"origin": label, "nodes": nodes}


def add(settings: Settings, label: str, *, entry: dict[str, Any] | None = None, name: str = "pets") -> str:
    """A version of a model, as `pathlight models add` puts it in place: card, weights and tree bear the label. Returns
    its fingerprint."""
    declaration = Declaration(name, ENTRY if entry is None else entry, settings.home)
    staged = settings.home / f".add-{name}"
    staged.mkdir(parents=True)
    card = FIELDS | {"name": name, "title": label, "declared": dict(declaration.entry)}
    (staged / CARD).write_text(json.dumps(card), "utf-8")
    (staged / WEIGHTS).write_text(label, "utf-8")
    (staged / TREE).write_text(json.dumps(tree_of(label)), "utf-8")
    with changing(settings.registry):
        put(staged, settings.registry / name, declaration.entry)
        declare(settings.own_models, declaration)
    return Registry.load(settings).get(name).fingerprint


def test_a_model_that_arrives_changes_and_goes_is_seen_and_a_snapshot_stays_what_it_was(settings: Settings) -> None:
    registry = live(settings)
    before = registry.current()
    assert registry.current() is before, "nothing has changed"
    add(settings, "first")
    first = registry.current()
    assert "pets" not in before.cards and first.get("pets").title == "first"
    add(settings, "second")
    second = registry.current()
    assert (first.get("pets").title, second.get("pets").title) == ("first", "second")
    tree = first.get("pets").hierarchy
    assert tree is not None and tree.origin == "first", "read when it is asked for, after it was replaced"
    withdraw(settings.own_models, "pets")
    assert "pets" not in registry.current().cards


def test_the_files_are_looked_at_no_more_often_than_was_said(settings: Settings) -> None:
    registry = LiveRegistry(settings, look_seconds=3600)
    add(settings, "first")
    assert "pets" not in registry.current().cards


@pytest.mark.parametrize("change", ["card", "tree", "weights", "record", "classes"])
def test_a_file_that_arrives_or_is_replaced_makes_a_new_card(settings: Settings, change: str) -> None:
    path = write_card(settings.registry, weights={"file": "w.pth", "sha256": "", "url": "https://example.org/w.pth"})
    cache = settings.cache / "pets"
    cache.mkdir(parents=True)
    registry = live(settings)
    before = registry.current().get("pets")
    match change:
        case "card":
            write_card(settings.registry, title="Other")
        case "tree":
            path.with_name(TREE).write_text(json.dumps(tree_of("new")), "utf-8")
        case "weights":
            (cache / "w.pth").write_bytes(b"w")
        case "record":
            (cache / "weights.json").write_text(json.dumps({"sha256": "a" * 64}), "utf-8")
        case "classes":
            (cache / "classes.json").write_text(json.dumps(["a", "b", "c"]), "utf-8")
    assert registry.current().get("pets") is not before


def test_what_cannot_be_read_leaves_the_last_good_models_and_is_said_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    add(settings, "first")
    registry = live(settings)
    whole = settings.own_models.read_text("utf-8")
    with caplog.at_level(logging.WARNING):
        settings.own_models.write_text(whole[:-9], "utf-8")
        for _ in range(3):
            assert registry.current().get("pets").title == "first"
    assert sum("the models are left as they were" in line for line in caplog.messages) == 1
    settings.own_models.write_text(whole, "utf-8")
    add(settings, "second")
    assert registry.current().get("pets").title == "second"


def test_many_threads_may_ask_while_it_changes(settings: Settings) -> None:
    registry, stop, seen = live(settings), threading.Event(), set()

    def ask() -> None:
        while not stop.is_set():
            card = registry.current().cards.get("pets")
            seen.add(card.title if card else None)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(20):
        add(settings, str(number))
    stop.set()
    for thread in threads:
        thread.join()
    assert registry.current().get("pets").title == "19" and seen <= {None, *map(str, range(20))}


# -- whole models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other_entries", [False, True], ids=["same entry", "another entry each time"])
def test_a_reader_in_a_tight_loop_meets_whole_models_only(settings: Settings, other_entries: bool) -> None:
    add(settings, "0")
    stop, met, halves = threading.Event(), set(), []

    def read() -> None:
        while not stop.is_set():
            try:
                card = Registry.load(settings).ready("pets")
                tree = card.hierarchy
                parts = {card.title, card.weights_path.read_text("utf-8"), tree.origin if tree else None}
                met.add(card.title)
                if len(parts) > 1:
                    halves.append(str(parts))
            except (ModelUnavailable, InvalidOption, OSError) as error:
                halves.append(repr(error))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 120):
        add(settings, str(number), entry=ENTRY | {"size": 100 + number} if other_entries else ENTRY)
    stop.set()
    reader.join()
    assert not halves and len(met) > 10


def test_a_model_of_an_earlier_pathlight_counts_until_it_is_added_again(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    declare(settings.own_models, Declaration("pets", ENTRY, settings.home))
    path = write_card(settings.registry, declared=ENTRY, title="earlier")
    (path.parent / WEIGHTS).write_text("earlier", "utf-8")
    registry = live(settings)
    old = registry.current().ready("pets")
    assert old.title == "earlier" and old.folder == settings.registry / "pets"
    add(settings, "new")
    assert registry.current().ready("pets").title == "new"
    assert registry.of_version("pets", old.fingerprint).title == "earlier"


# -- versions of accepted jobs -----------------------------------------------------------------------------------------


def test_a_version_that_was_replaced_or_removed_is_there_for_whoever_names_it(settings: Settings) -> None:
    first = add(settings, "first")
    second = add(settings, "second", entry=ENTRY | {"size": 96})
    registry = live(settings)
    assert registry.of_version("pets", first).title == "first"
    assert registry.of_version("pets", second).title == registry.of_version("pets", None).title == "second"
    withdraw(settings.own_models, "pets")
    assert [registry.of_version("pets", version).title for version in (first, second)] == ["first", "second"]
    with pytest.raises(InvalidOption, match="'pets' is not a model"):
        registry.of_version("pets", None)


def test_a_version_that_has_just_come_is_found_before_the_next_look(settings: Settings) -> None:
    registry = LiveRegistry(settings, look_seconds=3600)
    version = add(settings, "first")
    assert registry.of_version("pets", version).title == "first"
    other = add(settings, "other", name="birds")
    assert other and registry.of_version("birds", None).title == "other"


def test_a_version_that_is_kept_nowhere_gives_way_to_the_current_one_and_the_log_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    add(settings, "first")
    registry = live(settings)
    assert registry.of_version("pets", "f" * 64).title == "first"
    assert "the version ffffffffffff of pets is not here; the current one answers" in caplog.text
    path = next(settings.registry.glob(f"pets/v-*/{CARD}"))
    path.write_text("{", "utf-8")
    assert registry.of_version("pets", "f" * 64).title == "first", "a version that cannot be read is none"


def test_a_registry_of_its_own_files_is_its_own_snapshot(tmp_path: Path) -> None:
    write_card(tmp_path)
    registry = Registry.load(Settings(home=tmp_path), folders=[tmp_path])
    assert registry.current() is registry
    (tmp_path / "pets" / WEIGHTS).write_bytes(b"")
    assert registry.of_version("pets", "any") is registry.get("pets")
