"""The figures on names: right for the four families of nbdt's trees, and not satisfied by wrong names."""

from __future__ import annotations

import pytest

from shared.cards.hierarchy import Hierarchy
from tests.training.trees.nouns import (
    CAT,
    DRUM,
    SPIRIT,
    TABBY,
    TOM,
    needs_wordnet,
    real_wordnet,
    unnamed,
    wnid,
)
from training.trees.naming_figures import NamingFigures, naming_figures
from training.trees.nbdt_files import nbdt_hierarchy, nbdt_wnids
from training.trees.node_names import NodeName, with_names
from training.trees.wordnet import WordNet
from training.trees.wordnet_tree import wordnet_hierarchy

FAMILIES = {
    "CIFAR10": "induced-wrn28_10_cifar10",
    "CIFAR100": "induced-wrn28_10_cifar100",
    "TinyImagenet200": "induced-ResNet18",
    "Imagenet1000": "induced-efficientnet_b7b",
}


def tree(*names: tuple[str, str]) -> Hierarchy:
    """Tabby and tom below `a`, with the drum below `r`."""
    return with_names(
        unnamed(("r", ("a", "2")), ("a", ("0", "1")), leaves=3), [NodeName(i, n, "file", None) for i, n in names]
    )


WNIDS = [wnid(offset) for offset in (TABBY, TOM, DRUM)]


def test_gaps_are_filled_and_general_names_counted(wordnet: WordNet) -> None:
    assert naming_figures(tree(), WNIDS, wordnet) == NamingFigures(2, 1.0, 0.5, unique=True, consistent=True)


def test_a_label_that_does_not_hold_for_all_leaves_is_inconsistent(wordnet: WordNet) -> None:
    assert naming_figures(tree(("a", "mammal")), WNIDS, wordnet).consistent
    assert not naming_figures(tree(("a", "pet")), WNIDS, wordnet).consistent
    assert not naming_figures(tree(("r", "animal")), WNIDS, wordnet).consistent


def test_a_name_given_twice_is_not_unique(wordnet: WordNet) -> None:
    assert not naming_figures(tree(("a", "entity"), ("r", "entity")), WNIDS, wordnet).unique
    leaf = Hierarchy.from_dict(
        {"nodes": [{"id": "r", "name": "cat", "children": ["0", "1"]}, {"id": "0", "name": "cat", "class": 0}]
         + [{"id": "1", "name": "tabby", "class": 1}]}
    )  # fmt: skip
    assert not naming_figures(leaf, [wnid(CAT), wnid(TABBY)], wordnet).unique


def test_a_node_whose_leaves_share_nothing_is_not_named(wordnet: WordNet) -> None:
    figures = naming_figures(tree(), [wnid(offset) for offset in (TABBY, TOM, SPIRIT)], wordnet)
    assert figures == NamingFigures(2, 0.5, 0.0, unique=True, consistent=True)


@needs_wordnet
@pytest.mark.parametrize("dataset", FAMILIES)
def test_all_decisions_of_nbdts_trees_get_true_names_of_their_own(dataset: str) -> None:
    induced = naming_figures(nbdt_hierarchy(dataset, FAMILIES[dataset]), nbdt_wnids(dataset), real_wordnet())
    assert (induced.named, induced.unique, induced.consistent) == (1.0, True, True)
    built = wordnet_hierarchy(nbdt_wnids(dataset), real_wordnet())
    figures = naming_figures(built, nbdt_wnids(dataset), real_wordnet())
    assert (figures.named, figures.unique, figures.consistent) == (1.0, True, True)
    assert figures.generic < 0.15
