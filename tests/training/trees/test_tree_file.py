"""The file of a tree: one line a node, written whole or not at all, described in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cards.hierarchy import Hierarchy
from shared.errors import StorageFailed
from shared.settings import REPOSITORY
from tests.training.trees.nouns import CRANE, DOG, DRUM, HAMSTER, TABBY, TOM, build, unnamed
from training.trees.tree_file import describe, to_text, write_tree
from training.trees.wordnet import WordNet


def test_the_file_has_one_line_for_each_node_and_reads_back_as_the_tree(wordnet: WordNet, tmp_path: Path) -> None:
    tree = build([DOG, TABBY, TOM], wordnet)
    path = write_tree(tree, tmp_path)
    assert Hierarchy.load(path) == tree
    assert sum('"id"' in line for line in path.read_text("utf-8").splitlines()) == len(tree.nodes) == 5
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("model", ["resnet18-photos100", "resnet18-imagenet", "efficientnet-lite0-imagenet"])
def test_the_shipped_files_are_written_in_this_way(model: str) -> None:
    path = REPOSITORY / "models" / model / "hierarchy.json"
    assert path.read_text("utf-8") == to_text(Hierarchy.load(path))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    wordnet: WordNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    old = write_tree(build([DOG, TABBY], wordnet), folder).read_bytes()

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageFailed, match=r"hierarchy\.json cannot be written: No space left on device"):
        write_tree(build([DOG, TOM], wordnet), folder)
    assert [path.name for path in folder.iterdir()] == ["hierarchy.json"]
    assert (folder / "hierarchy.json").read_bytes() == old


def test_a_folder_that_is_not_there_is_a_plain_sentence(wordnet: WordNet, tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="cannot be written: No such file or directory"):
        write_tree(build([DOG, TABBY], wordnet), tmp_path / "absent")


def test_the_description_counts_depth_width_generic_and_missing_names(wordnet: WordNet) -> None:
    assert describe(build([DOG, TABBY, TOM, HAMSTER, CRANE, DRUM], wordnet)) == (
        "4 decisions over 6 classes, 4 deep and 3 wide at most; generic names: 1 (entity); without a name: 0"
    )
    assert describe(unnamed(("r", ("0", "1")), leaves=2)) == (
        "1 decisions over 2 classes, 1 deep and 2 wide at most; generic names: 0; without a name: 1"
    )
