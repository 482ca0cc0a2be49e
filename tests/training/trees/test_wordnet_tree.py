"""Trees from WordNet: choosing parents, leaving out what does not divide, names of their own."""

from __future__ import annotations

import pytest

from shared.cards.hierarchy import Hierarchy
from shared.errors import InvalidHierarchy
from shared.settings import REPOSITORY
from tests.training.trees.nouns import (
    BEAST,
    BIRD_CRANE,
    CAT,
    DOG,
    DRUM,
    ENTITY,
    GREY_CRANE,
    HAMSTER,
    PET,
    SPIRIT,
    TABBY,
    TOM,
    TOWER_LIFT,
    build,
    leaf_wnids,
    needs_wordnet,
    outline,
    real_wordnet,
    wnid,
)
from training.trees.nbdt_files import nbdt_wnids
from training.trees.node_names import GENERIC
from training.trees.wordnet import Synset, WordNet
from training.trees.wordnet_tree import wordnet_hierarchy

SHIPPED = {"resnet18-photos100": 100, "resnet18-imagenet": 1000, "efficientnet-lite0-imagenet": 1000}
shipped_trees = pytest.mark.parametrize("model", SHIPPED)


def shipped(model: str) -> Hierarchy:
    return Hierarchy.load(REPOSITORY / "models" / model / "hierarchy.json")


def test_a_synset_with_two_parents_joins_its_nearest_relatives(wordnet: WordNet) -> None:
    """The dog is a pet first, but carnivore, where the cats are, lies deeper than pet, where the hamster is."""
    tree = build([DOG, TABBY, TOM, HAMSTER], wordnet)
    assert outline(tree) == "animal(carnivore(dog cat(tabby tom)) hamster)"


def test_a_deep_parent_without_relatives_loses_to_a_higher_one_with_them(wordnet: WordNet) -> None:
    assert outline(build([DOG, HAMSTER, DRUM], wordnet)) == "entity(pet(dog hamster) drum)"


def test_of_equally_good_parents_the_one_with_the_smallest_wnid_is_taken(wordnet: WordNet) -> None:
    """Nobody else is a pet or a beast of burden, so the hamster's first-written parent must not decide."""
    synsets = {**wordnet.synsets, wnid(62): Synset(("mouser",), (wnid(BEAST),))}
    synsets |= {wnid(63): Synset(("ratter",), (wnid(PET),))}
    tree = build([HAMSTER, 62, 63], WordNet(synsets))
    assert outline(tree) == "animal(pet(hamster ratter) mouser)"


def test_nodes_with_a_single_child_are_left_out(wordnet: WordNet) -> None:
    tree = build([TABBY, TOM, DRUM], wordnet)
    assert outline(tree) == "entity(cat(tabby tom) drum)"
    assert [node.id for node in tree.nodes] == [wnid(o) for o in (ENTITY, CAT, TABBY, TOM, DRUM)]


def test_a_node_that_hardly_divides_its_parent_gives_way_to_its_children(wordnet: WordNet) -> None:
    dogs = {wnid(200 + k): Synset((f"dog{k}",), (wnid(DOG),)) for k in range(10)}
    cats = {wnid(300 + k): Synset((f"cat{k}",), (wnid(CAT),)) for k in range(10)}
    wide = WordNet({**wordnet.synsets, **dogs, **cats})
    offsets = [*range(200, 210), *range(300, 310)]
    tree = build([*offsets, BEAST], wide)
    assert [tree.by_id[child].name for child in tree.root.children] == ["dog", "cat", "beast of burden"]


def test_a_class_that_is_a_kind_of_another_class_keeps_both_as_leaves(wordnet: WordNet) -> None:
    tree = build([CAT, TABBY, DRUM], wordnet)
    assert outline(tree) == "entity(cat (tabby)(cat tabby) drum)"
    assert tree.path_to(0) == (f"{wnid(CAT)}-kinds", wnid(CAT))
    assert leaf_wnids(tree) == [wnid(o) for o in (CAT, TABBY, DRUM)]


def test_two_synsets_of_the_same_name_get_different_ones(wordnet: WordNet) -> None:
    tree = build([BIRD_CRANE, GREY_CRANE, TOWER_LIFT, 121], wordnet)
    assert outline(tree) == "entity(crane(white crane grey crane) crane (tower crane)(tower crane dock crane))"


def test_the_classes_keep_their_numbers_in_any_order(wordnet: WordNet) -> None:
    offsets = [TOM, DRUM, DOG, TABBY]
    assert leaf_wnids(build(offsets, wordnet)) == [wnid(o) for o in offsets]


def test_a_single_class_is_a_tree_without_decisions(wordnet: WordNet) -> None:
    assert outline(build([TABBY], wordnet)) == "tabby"


def test_classes_without_a_common_top_are_refused(wordnet: WordNet) -> None:
    with pytest.raises(InvalidHierarchy, match="under 2 synsets"):
        build([TABBY, SPIRIT], wordnet)


def test_a_class_that_wordnet_does_not_know_is_refused(wordnet: WordNet) -> None:
    with pytest.raises(InvalidHierarchy, match="'n00000042' is not a noun"):
        wordnet_hierarchy(["n00000042"], wordnet)


def test_the_same_class_twice_is_refused(wordnet: WordNet) -> None:
    with pytest.raises(InvalidHierarchy):
        build([TABBY, TABBY], wordnet)


@shipped_trees
def test_every_inner_node_of_a_shipped_tree_has_a_name_of_its_own(model: str) -> None:
    tree = shipped(model)
    names = [node.name for node in tree.decisions]
    leaf_names = {node.name for node in tree.nodes if node.leaf is not None}
    assert tree.class_count == SHIPPED[model]
    assert all(names) and len(set(names)) == len(names) and leaf_names.isdisjoint(names)


def test_the_imagenet_classes_have_the_ids_that_nbdt_gives_them() -> None:
    assert tuple(leaf_wnids(shipped("resnet18-imagenet"))) == nbdt_wnids("Imagenet1000")


@pytest.mark.parametrize(
    ("model", "leaf", "path"),
    [
        (
            "resnet18-photos100",
            24,
            "animal > vertebrate > mammal > carnivore > feline > cat > domestic cat > tabby",
        ),
        ("resnet18-photos100", 98, "matter > food > espresso"),
        ("resnet18-photos100", 94, "matter > produce > edible fruit > citrus > orange"),
        (
            "resnet18-photos100",
            62,
            "artifact > instrumentality > conveyance > vehicle > wheeled vehicle > self-propelled vehicle"
            " > motor vehicle > car > convertible",
        ),
        ("resnet18-imagenet", 281, "organism > vertebrate > mammal > carnivore > feline > cat > domestic cat > tabby"),
        ("resnet18-imagenet", 950, "fruit > edible fruit > citrus > orange"),
    ],
)
def test_a_shipped_tree_reads_well(model: str, leaf: int, path: str) -> None:
    tree = shipped(model)
    assert " > ".join(str(tree.by_id[node_id].name) for node_id in tree.path_to(leaf)) == path


@pytest.mark.parametrize(
    ("model", "generic"),
    [
        ("resnet18-photos100", "physical entity, artifact, instrumentality, matter"),
        ("resnet18-imagenet", "entity, organism, artifact, instrumentality, matter, substance, abstraction"),
    ],
)
def test_few_nodes_of_a_shipped_tree_are_generic(model: str, generic: str) -> None:
    assert ", ".join(str(node.name) for node in shipped(model).decisions if node.id in GENERIC) == generic


@needs_wordnet
@shipped_trees
def test_a_shipped_tree_can_be_built_from_its_own_leaves(model: str) -> None:
    tree = shipped(model)
    assert wordnet_hierarchy(leaf_wnids(tree), real_wordnet()) == tree


@needs_wordnet
@shipped_trees
def test_every_synset_of_a_shipped_tree_is_a_hypernym_of_all_leaves_below(model: str) -> None:
    tree, wnids = shipped(model), leaf_wnids(shipped(model))
    for node in tree.decisions:
        synset = node.id.removesuffix("-kinds")
        assert str(node.name).startswith(real_wordnet().name(synset))
        for leaf in tree.leaves_below[node.id]:
            assert synset in real_wordnet().lineage(wnids[leaf])
