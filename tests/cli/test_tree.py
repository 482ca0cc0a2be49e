"""`pathlight tree build` on copies of the shipped models, in a fresh state directory."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from cli.tree import _put_version
from shared.cards.card import ModelCard, Registry
from shared.cards.hierarchy import Hierarchy
from shared.cards.registry import LiveRegistry
from shared.settings import REPOSITORY, Settings
from shared.store.retired import sweep
from tests.documented import commands_of
from tests.shared.test_registry import add, tree_of
from tests.training.trees.nouns import needs_wordnet
from training.trees.induced_tree import Leaf, induced_hierarchy
from training.trees.model_tree import head_rows
from training.trees.wordnet import REMEDY


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def copied(model: str, home: Path, *, tree: bool = False, **changes: Any) -> Path:
    """A copy of a shipped model among the user's own, which takes the place of the shipped one."""
    folder = home / "registry" / model
    shutil.copytree(REPOSITORY / "models" / model, folder)
    if not tree:
        (folder / "hierarchy.json").unlink()
    card = json.loads((folder / "card.json").read_text("utf-8"))
    (folder / "card.json").write_text(json.dumps(card | changes), "utf-8")
    return folder


def build(home: Path, *arguments: str) -> Result:
    return CliRunner(env={"PATHLIGHT_HOME": str(home), "COLUMNS": "100"}).invoke(main, ["tree", "build", *arguments])


def stored(folder: Path) -> Hierarchy:
    return Hierarchy.load(folder / "hierarchy.json")


def refused(home: Path, *arguments: str) -> str:
    done = build(home, *arguments)
    assert done.exit_code == 1, done.output
    assert "Traceback" not in done.output
    return done.output


@needs_wordnet
def test_an_induced_tree_is_that_of_the_head_named_from_wordnet_and_says_from_which_weights(home: Path) -> None:
    folder = copied("resnet18-photos100", home)
    done = build(home, "resnet18-photos100")
    assert done.exit_code == 0, done.output
    card = ModelCard.load(folder / "card.json", cache=home)
    leaves = [Leaf(wnid, name) for wnid, name in zip(card.wnids, card.classes, strict=True)]
    expected = induced_hierarchy(head_rows(card), leaves, normalise=True)
    tree = stored(folder)
    assert [(n.id, n.children, n.leaf) for n in tree.nodes] == [(n.id, n.children, n.leaf) for n in expected.nodes]
    assert {node.name_source for node in tree.decisions} == {"wordnet"}
    assert "L2-normalised rows" in tree.origin and card.weights.sha256 in tree.origin
    assert "WordNet 3.0 license" in tree.licence and "the project's own" in tree.licence
    assert "99 decisions over 100 classes" in done.output and "without a name: 0" in done.output
    assert [path.name for path in folder.iterdir() if path.name not in ("card.json", "weights.safetensors")] == [
        "hierarchy.json"
    ]


def test_raw_and_normalised_rows_give_different_trees_and_the_file_says_which(home: Path) -> None:
    folder = copied("resnet18-photos100", home, wnids=[])
    assert build(home, "resnet18-photos100", "--normalise").exit_code == 0
    normalised = stored(folder)
    assert build(home, "resnet18-photos100", "--raw", "--force").exit_code == 0
    raw = stored(folder)
    assert raw.nodes != normalised.nodes
    assert "L2-normalised rows" in normalised.origin and "raw rows" in raw.origin


def test_without_wordnet_ids_the_decisions_of_an_induced_tree_have_no_names(home: Path) -> None:
    folder = copied("nbdt-cifar10", home)
    done = build(home, "nbdt-cifar10")
    assert done.exit_code == 0, done.output
    assert {(node.name, node.name_source) for node in stored(folder).decisions} == {(None, "leaves")}
    assert stored(folder).by_id["class-3"].name == "cat"
    assert "without a name: 9" in done.output


def test_labels_of_the_replaced_file_stay_with_their_classes_and_the_licence_with_the_labels(home: Path) -> None:
    folder = copied("nbdt-cifar10", home, tree=True)
    labels = {stored(folder).leaves_below[node.id]: node.name for node in stored(folder).decisions}
    done = build(home, "nbdt-cifar10", "--force")
    assert done.exit_code == 0, done.output
    tree = stored(folder)
    assert all(node.name == labels.get(tree.leaves_below[node.id]) for node in tree.decisions)
    assert tree.root.name == "whole" and tree.root.name_source == "file"
    assert "Alvin Wan" in tree.licence
    assert "was trained on another tree: its soft and hard decisions need that one" in done.output


@needs_wordnet
def test_the_trees_that_ship_are_what_the_commands_of_the_page_build(home: Path) -> None:
    def shipped(model: str) -> bytes:
        return (REPOSITORY / "models" / model / "hierarchy.json").read_bytes()

    folder = copied("resnet18-photos100", home, tree=True)
    built = []
    for words in map(shlex.split, commands_of("docs/trees.md")):
        assert words[1:3] == ["tree", "build"]
        done = build(home, *words[3:])
        assert done.exit_code == 0, done.output
        built.append((folder / "hierarchy.json").read_bytes())
    assert [tree == shipped("resnet18-photos100") for tree in built] == [False, True]
    folder = copied("resnet18-imagenet", home)
    assert build(home, "resnet18-imagenet", "--kind", "wordnet").exit_code == 0
    assert (folder / "hierarchy.json").read_bytes() == shipped("resnet18-imagenet")


# -- refused ---------------------------------------------------------------------------------------------------------


def test_a_tree_that_is_there_is_not_replaced_unasked(home: Path) -> None:
    folder = copied("resnet18-photos100", home, tree=True)
    before = (folder / "hierarchy.json").read_bytes()
    output = refused(home, "resnet18-photos100")
    assert "has a tree already (57 decisions from WordNet 3.0, hypernym tree); --force replaces it\n" in output
    assert (folder / "hierarchy.json").read_bytes() == before


def test_the_sentence_warns_where_the_network_was_trained_on_the_tree(home: Path) -> None:
    copied("nbdt-cifar10", home, tree=True)
    assert "--force replaces it; nbdt-cifar10 was trained on it" in refused(home, "nbdt-cifar10")


def test_a_damaged_tree_is_replaced_by_force(home: Path) -> None:
    folder = copied("nbdt-cifar10", home, tree=True)
    (folder / "hierarchy.json").write_text("{")
    assert "has a tree already (one that cannot be read)" in refused(home, "nbdt-cifar10")
    assert build(home, "nbdt-cifar10", "--force").exit_code == 0
    assert stored(folder).class_count == 10


def test_a_wordnet_tree_needs_wordnet_ids(home: Path) -> None:
    folder = copied("nbdt-cifar10", home)
    output = refused(home, "nbdt-cifar10", "--kind", "wordnet")
    assert "gives no WordNet ids" in output and "pathlight tree build nbdt-cifar10 --kind induced" in output
    assert not (folder / "hierarchy.json").exists()


def test_an_induced_tree_needs_the_weights(home: Path) -> None:
    assert "run: pathlight models fetch resnet18-imagenet" in refused(home, "resnet18-imagenet", "--force")


def test_an_induced_tree_is_not_built_from_weights_that_are_not_the_cards(home: Path) -> None:
    folder = copied("nbdt-cifar10", home, weights={"file": "weights.safetensors", "sha256": "0" * 64})
    output = refused(home, "nbdt-cifar10")
    assert "was not loaded: its SHA-256 is" in output and "git checkout models/nbdt-cifar10" in output
    assert not (folder / "hierarchy.json").exists()


def test_an_induced_tree_needs_a_linear_head(home: Path) -> None:
    copied("nbdt-cifar10", home, head="other")
    output = refused(home, "nbdt-cifar10")
    assert "has no linear head whose rows could be clustered" in output and "--kind wordnet" in output


@pytest.mark.parametrize("arguments", [["--kind", "induced"], ["--kind", "wordnet"]])
def test_without_wordnet_nothing_is_built_for_classes_that_have_ids(
    home: Path, tmp_path: Path, arguments: list[str]
) -> None:
    folder = copied("resnet18-photos100", home)
    assert REMEDY in refused(home, "resnet18-photos100", *arguments, "--wordnet", str(tmp_path))
    assert not (folder / "hierarchy.json").exists()


def test_the_rows_of_a_wordnet_tree_cannot_be_normalised(home: Path) -> None:
    for option in ("--raw", "--normalise"):
        assert "--kind wordnet has none" in refused(home, "resnet18-photos100", "--kind", "wordnet", option)


def test_a_card_whose_lists_do_not_fit_its_classes_is_refused(home: Path) -> None:
    copied("nbdt-cifar10", home, wnids=["n1", "n2"])
    assert "the card of nbdt-cifar10 lists 2 wnids for 10 classes" in refused(home, "nbdt-cifar10")


def test_an_unknown_model_is_refused_naming_the_known(home: Path) -> None:
    assert "'nothing' is not a model; known are efficientnet-lite0-imagenet, nbdt-cifar10" in refused(home, "nothing")


def test_the_command_teaches_itself() -> None:
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(main, ["tree", "build", "--help"]).output
    for word in ("Ward clustering", "hierarchy.json", "--kind [induced|wordnet]", "--normalise / --raw", "--force"):
        assert word in shown


def test_a_tree_for_a_model_of_ones_own_makes_a_version_and_leaves_the_one_before_as_it_was(settings: Settings) -> None:
    with_tree = add(settings, "mine")
    before = Registry.load(settings).ready("pets")
    other = Hierarchy.from_dict(tree_of("another"))
    path = _put_version(other, before, settings)
    after = Registry.load(settings).ready("pets")
    assert path == after.folder / "hierarchy.json" and after.folder != before.folder
    assert after.hierarchy is not None and after.hierarchy.origin == "another" and after.title == before.title == "mine"
    assert LiveRegistry(settings).of_version("pets", with_tree).folder == before.folder
    sweep(settings, set, older_than=-1)
    assert after.weights_path.read_text("utf-8") == "mine", "the two shared its bytes"
