"""Model cards: read without torch, honest about what is missing, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.cards.card import InputSpec, ModelCard, Registry, WeightsSpec
from shared.cards.class_names import short_name
from shared.errors import InvalidHierarchy, InvalidOption, ModelUnavailable
from shared.settings import REPOSITORY, Settings
from tests.shared.cards import CARD, card, write_card

FETCHED = {"file": "w.pth", "sha256": "abcd", "url": "https://example.org/w.pth"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_a_card_says_all_that_its_file_says(folder: Path, cache: Path) -> None:
    path = write_card(folder)
    found = ModelCard.load(path, cache=cache)
    assert (found.name, found.title, found.architecture, found.class_count) == ("pets", "Pets", "resnet18", 3)
    assert found.classes == ("tabby, tabby cat", "dog", "Great Dane")
    assert found.wnids == ("n1", "n2", "n3")
    assert found.input == InputSpec(256, 224, 224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert found.weights == WeightsSpec("weights.safetensors", "0" * 64)
    assert (found.layer, found.tree_supervised, found.facts) == ("layer4", True, {"licence": "MIT"})
    assert (found.folder, found.weights_path) == (path.parent, path.parent / "weights.safetensors")


def test_what_a_card_may_leave_out_is_empty(folder: Path, cache: Path) -> None:
    found = ModelCard.load(write_card(folder, wnids=None, tree_supervised=None, facts=None), cache=cache)
    assert (found.wnids, found.tree_supervised, found.facts, found.hierarchy) == ((), False, {}, None)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "models").glob("*/card.json")), ids=lambda path: path.parent.name)
def test_the_cards_of_our_models_are_whole(path: Path, cache: Path) -> None:
    found = ModelCard.load(path, cache=cache)
    assert found.name == path.parent.name
    assert len(found.classes) in (found.class_count, 0)
    assert len(found.wnids) in (found.class_count, 0)
    assert found.classes or found.weights.url, "names that do not come with the card come with the weights"
    assert len(set(map(short_name, found.classes))) == len(found.classes)
    for index, name in enumerate(found.classes):
        assert found.class_index(name) == index
    if found.hierarchy is not None:
        assert found.hierarchy.class_count == found.class_count


@pytest.mark.parametrize(
    "changes",
    [{key: None} for key in CARD if key not in ("classes", "wnids", "tree_supervised", "facts")]
    + [
        {"weights": {"file": "w"}},
        {"weights": {**FETCHED, "mirror": "x"}},
        {"weights": "w"},
        {"input": {"resize": 1}},
        {"input": {**CARD["input"], "mean": 0.5}},
        {"classes": 3},
        {"wnids": 3},
    ],
    ids=str,
)
def test_a_card_that_lacks_something_is_unavailable_by_name(folder: Path, cache: Path, changes: dict[str, Any]) -> None:
    path = write_card(folder, **changes)
    with pytest.raises(ModelUnavailable, match=f"^the model card {path.parent.name}/card.json is not readable: "):
        ModelCard.load(path, cache=cache)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"7", b"\xff"])
def test_a_card_that_is_no_object_is_unavailable_by_name(folder: Path, cache: Path, content: bytes) -> None:
    path = write_card(folder)
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match="^the model card pets/card.json is not readable: "):
        ModelCard.load(path, cache=cache)


# -- readiness -------------------------------------------------------------------------------------------------------


def test_a_model_of_ours_without_its_weights_says_how_to_get_them_back(folder: Path, cache: Path) -> None:
    write_card(folder)
    registry = Registry.load(Settings(home=cache), folders=[folder])
    found = registry.get("pets")
    assert found.missing == "the weights file weights.safetensors is missing"
    assert found.remedy == "git checkout models/pets"
    with pytest.raises(ModelUnavailable) as caught:
        registry.ready("pets")
    assert str(caught.value) == f"pets is not ready: {found.missing}; run: {found.remedy}"
    assert caught.value.code == "model_unavailable"
    found.weights_path.write_bytes(b"")
    arrived = registry.ready("pets")
    assert arrived is found
    assert arrived.missing is None and arrived.remedy is None


def test_a_fetched_model_is_ready_when_weights_and_names_have_arrived(folder: Path, cache: Path) -> None:
    path = write_card(folder, weights=FETCHED, classes=None)
    found = ModelCard.load(path, cache=cache)
    assert found.weights_path == cache / "pets/w.pth"
    assert (found.classes, found.class_count) == ((), 3)
    assert found.remedy == "pathlight models fetch pets"
    (cache / "pets").mkdir(parents=True)
    (cache / "pets/classes.json").write_text(json.dumps(["a", "b", "c"]), "utf-8")
    found.weights_path.write_bytes(b"")
    by_hand = ModelCard.load(path, cache=cache)
    assert by_hand.missing == "the weights file w.pth was not checked yet", "it may still be being copied"
    (cache / "pets/weights.json").write_text(json.dumps({"sha256": "a" * 64}), "utf-8")
    arrived = ModelCard.load(path, cache=cache)
    assert (arrived.classes, arrived.missing) == (("a", "b", "c"), None)
    assert arrived.fingerprint != found.fingerprint


def test_names_that_arrived_broken_make_the_card_unavailable(folder: Path, cache: Path) -> None:
    path = write_card(folder, weights=FETCHED, classes=None)
    (cache / "pets").mkdir(parents=True)
    (cache / "pets/classes.json").write_text("[")
    with pytest.raises(ModelUnavailable, match="pets/card.json"):
        ModelCard.load(path, cache=cache)


# -- hierarchy -------------------------------------------------------------------------------------------------------


def test_a_hierarchy_beside_the_card_is_the_models(folder: Path, cache: Path) -> None:
    path = write_card(folder)
    nodes = [{"id": "r", "children": ["a", "b"]}, {"id": "a", "class": 0}, {"id": "b", "class": 1}]
    path.with_name("hierarchy.json").write_text(json.dumps({"nodes": nodes}), "utf-8")
    tree = ModelCard.load(path, cache=cache).hierarchy
    assert tree is not None and tree.class_count == 2


def test_a_broken_hierarchy_is_refused_when_it_is_asked_for(folder: Path, cache: Path) -> None:
    path = write_card(folder)
    path.with_name("hierarchy.json").write_text("{}")
    found = ModelCard.load(path, cache=cache)
    with pytest.raises(InvalidHierarchy):
        _ = found.hierarchy


# -- classes ---------------------------------------------------------------------------------------------------------


def test_a_class_is_found_by_its_whole_or_first_name_whatever_the_case() -> None:
    pets = card("pets", "tabby, tabby cat", "dog", "Straße")
    assert [pets.class_index(word) for word in ("TABBY", " tabby, tabby cat ", "dog", "STRASSE")] == [0, 0, 1, 2]
    assert [pets.class_index(word) for word in ("tabby cat", "", "0", "do")] == [None] * 4


def test_of_two_classes_with_one_first_name_the_whole_name_tells_them_apart() -> None:
    birds = card("birds", "crane", "heron", "crane, machine")
    assert birds.class_index("crane, machine") == 2
    assert birds.class_index("crane") == 0


def test_a_word_that_names_several_classes_names_none() -> None:
    birds = card("birds", "crane", "heron", "crane")
    sentence = r"'Crane' names several classes of birds: 0 \(crane\), 2 \(crane\); give one of these numbers"
    with pytest.raises(InvalidOption, match=sentence):
        birds.class_index("Crane")


# -- registry --------------------------------------------------------------------------------------------------------


def test_the_registry_holds_the_models_of_the_repository_and_of_the_home(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write_card(tmp_path / "registry", name="mine")
    ours = {path.parent.name for path in (REPOSITORY / "models").glob("*/card.json")}
    assert set(Registry.load(settings).cards) == ours | {"mine"}


def test_the_registry_is_ordered_by_name_and_missing_folders_are_empty(folder: Path, cache: Path) -> None:
    for name in ("b", "a", "c"):
        write_card(folder, name=name)
    registry = Registry.load(Settings(home=cache), folders=[folder, folder / "absent"])
    assert list(registry.cards) == ["a", "b", "c"]


def test_an_unknown_model_is_refused_naming_the_known(folder: Path, cache: Path) -> None:
    write_card(folder)
    registry = Registry.load(Settings(home=cache), folders=[folder])
    for ask in (registry.get, registry.ready):
        with pytest.raises(InvalidOption) as caught:
            ask("../pets")
        assert str(caught.value) == "models: '../pets' is not a model; known are pets"


def test_another_tree_another_card_or_other_weights_make_another_fingerprint(folder: Path, cache: Path) -> None:
    def fingerprint(**changes: Any) -> str:
        return ModelCard.load(write_card(folder, **changes), cache=cache).fingerprint

    plain = fingerprint()
    assert fingerprint() == plain
    assert fingerprint(facts={"milliseconds_per_picture": 7}) == plain, "no answer depends on what was measured"
    others = [fingerprint(weights={"file": "w", "sha256": "1" * 64}), fingerprint(layer="layer3")]
    (folder / "pets" / "hierarchy.json").write_text("{}", "utf-8")
    assert len({plain, *others, fingerprint()}) == 4
