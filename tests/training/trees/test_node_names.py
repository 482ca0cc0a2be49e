"""Names for the inner nodes of any tree."""

from __future__ import annotations

import json

from shared.cards.hierarchy import Hierarchy, Node
from shared.settings import REPOSITORY
from tests.training.trees.nouns import (
    ANIMAL,
    BEAST,
    CAT,
    CRANE,
    DOG,
    DRUM,
    ENTITY,
    HAMSTER,
    MAMMAL,
    PET,
    SPIRIT,
    TABBY,
    TOM,
    leaf_wnids,
    needs_wordnet,
    real_wordnet,
    unnamed,
    wnid,
)
from training.trees.node_names import GENERIC, NodeName, name_nodes, unique_names, with_labels_of, with_names
from training.trees.wordnet import Synset, WordNet


def test_a_node_is_called_by_the_deepest_synset_that_all_its_leaves_share(wordnet: WordNet) -> None:
    tree = unnamed(("r", ("a", "3")), ("a", ("b", "2")), ("b", ("0", "1")), leaves=4)
    names = name_nodes(tree, [wnid(o) for o in (DOG, HAMSTER, TABBY, DRUM)], wordnet)
    assert names == (
        NodeName("r", "entity", "wordnet", wnid(ENTITY)),
        NodeName("a", "animal", "wordnet", wnid(ANIMAL)),
        NodeName("b", "pet", "wordnet", wnid(PET)),
    )


def test_of_equally_deep_shared_synsets_the_smallest_wnid_names_the_node(wordnet: WordNet) -> None:
    twins = {wnid(o): Synset((f"twin{o}",), (wnid(BEAST), wnid(PET))) for o in (62, 63)}
    names = name_nodes(unnamed(("r", ("0", "1")), leaves=2), list(twins), WordNet({**wordnet.synsets, **twins}))
    assert names[0].name == "pet"


def test_the_wider_node_keeps_a_shared_name_and_the_others_add_a_leaf(wordnet: WordNet) -> None:
    tree = unnamed(("r", ("a", "2")), ("a", ("b", "3")), ("b", ("0", "1")), leaves=4)
    names = name_nodes(tree, [wnid(o) for o in (HAMSTER, CRANE, BEAST, MAMMAL)], wordnet)
    assert [n.name for n in names] == ["animal", "animal (crane)", "animal (hamster)"]
    assert {n.wnid for n in names} == {wnid(ANIMAL)}


def test_a_name_is_never_that_of_a_leaf(wordnet: WordNet) -> None:
    names = name_nodes(unnamed(("r", ("0", "1")), leaves=2), [wnid(CAT), wnid(TABBY)], wordnet)
    assert names[0].name == "cat (tabby)"


def test_labels_of_the_file_are_kept_and_not_given_again(wordnet: WordNet) -> None:
    tree = unnamed((wnid(ANIMAL), ("b", "2")), ("b", ("0", "1")), leaves=3)
    tree = with_names(tree, [NodeName(wnid(ANIMAL), "pet", "file", None)])
    names = name_nodes(tree, [wnid(o) for o in (DOG, HAMSTER, TABBY)], wordnet)
    assert names == (
        NodeName(wnid(ANIMAL), "pet", "file", wnid(ANIMAL)),
        NodeName("b", "pet (dog)", "wordnet", wnid(PET)),
    )


def test_a_label_of_the_file_leaves_the_name_of_its_synset_to_others(wordnet: WordNet) -> None:
    tree = unnamed((wnid(ANIMAL), ("b", "2")), ("b", ("0", "1")), leaves=3)
    tree = with_names(tree, [NodeName(wnid(ANIMAL), "creature", "file", None)])
    names = name_nodes(tree, [wnid(o) for o in (CRANE, HAMSTER, TABBY)], wordnet)
    assert [n.name for n in names] == ["creature", "animal"]


def test_a_node_whose_leaves_share_nothing_has_no_name(wordnet: WordNet) -> None:
    names = name_nodes(unnamed(("r", ("0", "1")), leaves=2), [wnid(CAT), wnid(SPIRIT)], wordnet)
    assert names == (NodeName("r", None, "leaves", None),)
    assert not names[0].generic


def test_a_general_synset_is_flagged_as_generic(wordnet: WordNet) -> None:
    tree = unnamed(("r", ("a", "2")), ("a", ("0", "1")), leaves=3)
    names = name_nodes(tree, [wnid(o) for o in (TABBY, TOM, DRUM)], wordnet)
    assert [(n.name, n.generic) for n in names] == [("entity", True), ("cat", False)]


def test_leaves_of_one_name_still_give_different_names() -> None:
    leaves = {"a": ["crane", "crane", "crane"], "b": ["crane", "crane"], "c": ["crane"]}
    names = unique_names(dict.fromkeys(leaves, "bird"), leaves=leaves, taken=["bird"])
    assert names == {"c": "bird (crane)", "b": "bird (crane 2)", "a": "bird (crane 3)"}


def test_names_are_put_into_the_tree_and_nothing_else_changes(wordnet: WordNet) -> None:
    leaves = (Node("0", "tiger cat", (), 0), Node("1", "he-cat", (), 1))
    tree = Hierarchy((Node("r", None, ("0", "1")), *leaves), origin="here", licence="free")
    named = with_names(tree, name_nodes(tree, [wnid(TABBY), wnid(TOM)], wordnet))
    assert named == Hierarchy(
        (Node("r", "cat", ("0", "1"), name_source="wordnet"), *leaves), origin="here", licence="free"
    )


def test_a_node_whose_leaves_share_nothing_says_so_in_the_file(wordnet: WordNet) -> None:
    tree = unnamed(("r", ("a", "2")), ("a", ("0", "1")), leaves=3)
    named = with_names(tree, name_nodes(tree, [wnid(o) for o in (TABBY, TOM, SPIRIT)], wordnet))
    written = [(node["name"], node.get("name_source")) for node in named.to_dict()["nodes"]]
    assert written == [(None, "leaves"), ("cat", "wordnet"), (None, None), (None, None), (None, None)]


def test_naming_a_named_tree_again_changes_nothing(wordnet: WordNet) -> None:
    tree = unnamed(("r", ("a", "2")), ("a", ("0", "1")), leaves=3)
    wnids = [wnid(o) for o in (TABBY, TOM, DRUM)]
    named = with_names(tree, name_nodes(tree, wnids, wordnet))
    assert with_names(named, name_nodes(named, wnids, wordnet)) == named


def test_a_rebuilt_tree_takes_the_labels_that_people_gave_to_nodes_over_the_same_classes() -> None:
    old = unnamed(("r", ("a", "2")), ("a", ("0", "1")), leaves=3)
    old = with_names(old, [NodeName("r", "all", "wordnet", None), NodeName("a", "my cats", "file", None)])
    new = unnamed(("x", ("2", "y")), ("y", ("1", "0")), leaves=3)
    other = unnamed(("x", ("0", "y")), ("y", ("1", "2")), leaves=3)
    assert [node.name for node in with_labels_of(new, old).decisions] == [None, "my cats"]
    assert with_labels_of(new, old).by_id["y"].name_source == "file"
    assert with_labels_of(other, old) == other


@needs_wordnet
def test_the_names_of_generic_synsets_are_those_of_the_dictionary() -> None:
    assert {w: real_wordnet().name(w) for w in GENERIC} == GENERIC


@needs_wordnet
def test_the_induced_tree_without_its_labels_gets_names_again() -> None:
    """nbdt's CIFAR-10 tree: each of its nodes gets a name that is its own, and the labels that it carries stay."""
    labelled = Hierarchy.from_dict(json.loads((REPOSITORY / "models/nbdt-cifar10/hierarchy.json").read_text("utf-8")))
    wnids = leaf_wnids(labelled)
    kept = name_nodes(labelled, wnids, real_wordnet())
    assert [n.name for n in kept] == [node.name for node in labelled.decisions]
    blank = with_names(labelled, [NodeName(node.id, None, "leaves", None) for node in labelled.decisions])
    names = [n.name for n in name_nodes(blank, wnids, real_wordnet())]
    assert all(names) and len(set(names)) == len(names) == 9
