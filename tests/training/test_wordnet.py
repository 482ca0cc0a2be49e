"""Names and trees from WordNet: reading its noun file, choosing parents, naming nodes, the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from shared.errors import InvalidHierarchy, MissingWordNet
from shared.hierarchy import Hierarchy, Node
from shared.settings import REPOSITORY
from training.node_names import GENERIC, NodeName, name_nodes, unique_names, with_names
from training.wordnet import FOLDER, REMEDY, Synset, WordNet
from training.wordnet_tree import DATA, OUT, describe, main, to_lines, wordnet_hierarchy

HEADER = "  1 This software and database is being provided to you.  \n  2 WordNet 3.0 Copyright 2006 by Princeton.  \n"
ENTITY, ARTIFACT = 1740, 21939  # as in the real dictionary, for they are known as generic
ANIMAL, MAMMAL, CARNIVORE, PET, BEAST = 30, 40, 50, 60, 61
DOG, CAT, TABBY, TOM, HAMSTER, REX = 70, 80, 81, 82, 90, 71
CRANE, BIRD_CRANE, GREY_CRANE, LIFT, TOWER_LIFT, DRUM, SPIRIT = 100, 101, 102, 110, 111, 120, 130
NOUNS: dict[int, tuple[str, str]] = {  # offset: words, pointers
    ENTITY: ("entity", "~ 30"),
    ARTIFACT: ("artifact artefact", "@ 1740"),
    ANIMAL: ("animal beast", "@ 1740"),
    MAMMAL: ("mammal", "@ 30"),
    CARNIVORE: ("carnivore", "@ 40"),
    PET: ("pet", "@ 30"),
    BEAST: ("beast_of_burden", "@ 30"),
    DOG: ("dog domestic_dog", "@ 60 @ 50 #m 30 ~i 71"),
    REX: ("Rex", "@i 70"),
    CAT: ("cat", "@ 50"),
    TABBY: ("tabby tabby_cat", "@ 80"),
    TOM: ("tom", "@ 80"),
    HAMSTER: ("hamster", "@ 61 @ 60"),
    CRANE: ("crane", "@ 30"),
    BIRD_CRANE: ("white_crane", "@ 100"),
    GREY_CRANE: ("grey_crane", "@ 100"),
    LIFT: ("crane", "@ 21939"),
    TOWER_LIFT: ("tower_crane", "@ 110"),
    121: ("dock_crane", "@ 110"),
    DRUM: ("drum", "@ 21939"),
    SPIRIT: ("spirit", ""),
}
needs_wordnet = pytest.mark.skipif(
    not (FOLDER / "data.noun").exists(), reason="WordNet 3.0 is not installed (apt-get install wordnet-base)"
)
needs_photos = pytest.mark.skipif(not (DATA / "photos100-val.npz").exists(), reason="photos100-val.npz is not here")


def wnid(offset: int) -> str:
    return f"n{offset:08d}"


def noun_line(offset: int, words: str, pointers: str) -> str:
    pairs = [pointers.split()[i : i + 2] for i in range(0, len(pointers.split()), 2)]
    written = [f"{symbol} {int(target):08d} n 0000" for symbol, target in pairs]
    lemmas = [f"{word} 0" for word in words.split()]
    fields = [f"{offset:08d} 05 n {len(lemmas):02x}", *lemmas, f"{len(pairs):03d}", *written]
    return " ".join([*fields, "| a gloss; @ 1\n"])


def write_nouns(folder: Path, *, header: str = HEADER, extra: str = "") -> Path:
    lines = (noun_line(offset, *NOUNS[offset]) for offset in sorted(NOUNS))
    (folder / "data.noun").write_text(header + "".join(lines) + extra, "ascii")
    return folder


def write_extract(folder: Path, wnids: Iterable[str]) -> Path:
    """The lines of the real dictionary that some classes need: reading all of it takes a second."""
    needed = frozenset[str]().union(*(real_wordnet().lineage(w) for w in wnids))
    lines = (FOLDER / "data.noun").read_text("ascii").splitlines(keepends=True)
    (folder / "data.noun").write_text(HEADER + "".join(line for line in lines if f"n{line[:8]}" in needed), "ascii")
    return folder


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNet:
    return WordNet.load(write_nouns(tmp_path))


@cache
def real_wordnet() -> WordNet:
    return WordNet.load()


def build(offsets: Iterable[int], wordnet: WordNet) -> Hierarchy:
    wnids = [wnid(offset) for offset in offsets]
    return wordnet_hierarchy(wnids, [f"{wordnet.name(w)}, also known otherwise" for w in wnids], wordnet)


def outline(tree: Hierarchy, node_id: str | None = None) -> str:
    node = tree.by_id[node_id or tree.root.id]
    below = " ".join(outline(tree, child) for child in node.children)
    return f"{node.name}({below})" if below else str(node.name)


def unnamed(*nodes: tuple[str, tuple[str, ...]], leaves: int) -> Hierarchy:
    """A tree of unnamed decisions over leaves that are called by their number."""
    ends = tuple(Node(str(k), None, (), k) for k in range(leaves))
    return Hierarchy((*(Node(node_id, None, children) for node_id, children in nodes), *ends))


def leaf_wnids(tree: Hierarchy) -> list[str]:
    leaves = sorted((node.leaf, node.id) for node in tree.nodes if node.leaf is not None)
    return [node_id for _, node_id in leaves]


# Reading the dictionary


def test_a_synset_has_its_words_and_all_that_it_is_a_kind_of(wordnet: WordNet) -> None:
    assert wordnet.synset(wnid(DOG)) == Synset(("dog", "domestic_dog"), (wnid(PET), wnid(CARNIVORE)))
    assert wordnet.name(wnid(BEAST)) == "beast of burden"


def test_an_instance_is_a_kind_of_its_class_too(wordnet: WordNet) -> None:
    assert wordnet.synset(wnid(REX)).hypernyms == (wnid(DOG),)


def test_the_count_of_words_is_hexadecimal(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(17))
    wordnet = WordNet.load(write_nouns(tmp_path, extra=noun_line(999, words, "@ 1740")))
    assert wordnet.synset(wnid(999)).lemmas == tuple(words.split())


def test_the_lineage_follows_every_path(wordnet: WordNet) -> None:
    assert wordnet.lineage(wnid(DOG)) == {wnid(o) for o in (DOG, PET, CARNIVORE, MAMMAL, ANIMAL, ENTITY)}


def test_the_depth_is_that_of_the_longest_path(wordnet: WordNet) -> None:
    assert [wordnet.depth(wnid(o)) for o in (ENTITY, ANIMAL, PET, DOG)] == [0, 1, 2, 4]


def test_of_equally_deep_synsets_the_smallest_wnid_is_taken(wordnet: WordNet) -> None:
    assert wordnet.deepest([wnid(ANIMAL), wnid(BEAST), wnid(PET)]) == wnid(PET)
    assert wordnet.deepest([]) is None


def test_a_missing_dictionary_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingWordNet) as caught:
        WordNet.load(tmp_path)
    assert REMEDY in str(caught.value) and str(tmp_path / "data.noun") in str(caught.value)


def test_a_dictionary_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWordNet, match=r"does not say that it is WordNet 3\.0"):
        WordNet.load(write_nouns(tmp_path, header=HEADER.replace("3.0", "3.1")))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param("00000777 05 n 01 half 0 002 @ 00001740 n 0000\n", id="a line is cut off"),
        pytest.param("00000777 05 n\n", id="a line is cut off early"),
        pytest.param(noun_line(777, "orphan", "@ 778"), id="a hypernym does not exist"),
        pytest.param(noun_line(777, "", "@ 1740"), id="a synset has no words"),
        pytest.param("not a dictionary at all\n", id="other text"),
    ],
)
def test_a_damaged_dictionary_is_refused(tmp_path: Path, extra: str) -> None:
    with pytest.raises(MissingWordNet, match="not readable"):
        WordNet.load(write_nouns(tmp_path, extra=extra))


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = write_nouns(tmp_path) / "data.noun"
    path.write_bytes(path.read_bytes().replace(b"hamster", b"h\xe4mster"))
    with pytest.raises(MissingWordNet, match="not readable"):
        WordNet.load(tmp_path)


# The tree over classes


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
        wordnet_hierarchy(["n00000042"], ["answer"], wordnet)


def test_the_same_class_twice_is_refused(wordnet: WordNet) -> None:
    with pytest.raises(InvalidHierarchy):
        build([TABBY, TABBY], wordnet)


def test_the_file_has_one_line_for_each_node_and_reads_back_as_the_tree(wordnet: WordNet, tmp_path: Path) -> None:
    tree = build([DOG, TABBY, TOM], wordnet)
    path = tmp_path / "hierarchy.json"
    path.write_text(to_lines(tree), "utf-8")
    assert Hierarchy.load(path) == tree
    assert sum('"id"' in line for line in to_lines(tree).splitlines()) == len(tree.nodes) == 5


def test_the_description_counts_depth_width_and_generic_nodes(wordnet: WordNet) -> None:
    text = describe(build([DOG, TABBY, TOM, HAMSTER, CRANE, DRUM], wordnet))
    assert text.startswith("4 decisions over 6 classes, 4 deep at most; the widest is animal with 3 children;")
    assert text.endswith("generic: entity")


# Names for any tree


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
    assert named == Hierarchy((Node("r", "cat", ("0", "1")), *leaves), origin="here", licence="free")


# The command


def write_classes(folder: Path, tree: Hierarchy) -> Path:
    wnids = leaf_wnids(tree)
    np.savez(folder / "photos100-val.npz", wnids=np.array(wnids), names=np.array([tree.by_id[w].name for w in wnids]))
    return folder


def test_the_command_writes_the_tree_and_says_what_it_is(wordnet: WordNet, tmp_path: Path) -> None:
    tree = build([DOG, TABBY, TOM], wordnet)
    out = tmp_path / "new" / "hierarchy.json"
    options = ["--wordnet", str(tmp_path), "--data", str(write_classes(tmp_path, tree)), "--out", str(out)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0 and describe(tree) in result.output
    assert out.read_text("utf-8") == to_lines(tree)


def test_the_command_says_how_to_get_a_missing_dictionary_and_writes_nothing(wordnet: WordNet, tmp_path: Path) -> None:
    write_classes(tmp_path, build([DOG, TABBY], wordnet))
    out = tmp_path / "hierarchy.json"
    result = CliRunner().invoke(main, ["--wordnet", str(tmp_path / "no"), "--data", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 1 and REMEDY in result.output
    assert not out.exists()


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_the_command_names_an_archive_that_it_cannot_read(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "photos100-val.npz").write_bytes(content)
    result = CliRunner().invoke(main, ["--data", str(tmp_path)])
    assert result.exit_code == 2 and "photos100-val.npz" in "".join(result.output.split())


# Determinism

SCRIPT = """
import sys
from pathlib import Path
from shared.hierarchy import Hierarchy, Node
from training.node_names import name_nodes
from training.wordnet import WordNet
from training.wordnet_tree import to_lines, wordnet_hierarchy

wordnet, wnids = WordNet.load(Path(sys.argv[1])), sys.argv[2:]
print(to_lines(wordnet_hierarchy(wnids, [wordnet.name(wnid) for wnid in wnids], wordnet)))
last = len(wnids) - 1
ends = [Node(str(k), None, (), k) for k in range(last + 1)]
inner = [Node(f"i{k}", None, (str(k), f"i{k + 1}" if k + 1 < last else str(last))) for k in range(last)]
print(name_nodes(Hierarchy((*inner, *ends)), wnids, wordnet))
"""


def outputs_by_seed(folder: Path, wnids: Iterable[str]) -> list[str]:
    outputs = []
    for seed in range(10):
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder), *wnids],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(result.stdout)
    return outputs


def test_tree_and_names_are_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    offsets = (DOG, TABBY, TOM, CAT, HAMSTER, BIRD_CRANE, GREY_CRANE, TOWER_LIFT, 121, DRUM, BEAST, MAMMAL)
    outputs = outputs_by_seed(write_nouns(tmp_path), [wnid(offset) for offset in offsets])
    assert "entity (" in outputs[0]
    assert set(outputs) == {outputs[0]}


@needs_wordnet
def test_tree_and_names_of_the_shipped_classes_are_the_same_whatever_the_hash_seed(tmp_path: Path) -> None:
    wnids = leaf_wnids(Hierarchy.load(OUT))
    outputs = outputs_by_seed(write_extract(tmp_path, wnids), wnids)
    assert '"domestic cat"' in outputs[0]
    assert set(outputs) == {outputs[0]}


# The tree that ships


def test_every_inner_node_of_the_shipped_tree_has_a_name_of_its_own() -> None:
    tree = Hierarchy.load(OUT)
    names = [node.name for node in tree.nodes]
    assert tree.class_count == 100
    assert all(names) and len(set(names)) == len(names)


def test_the_shipped_file_is_written_as_the_command_writes_it() -> None:
    assert OUT.read_text("utf-8") == to_lines(Hierarchy.load(OUT))


@pytest.mark.parametrize(
    ("leaf", "path"),
    [
        (24, "animal > vertebrate > mammal > carnivore > feline > cat > domestic cat > tabby"),
        (98, "matter > food > espresso"),
        (94, "matter > produce > edible fruit > citrus > orange"),
        (
            62,
            "artifact > instrumentality > conveyance > vehicle > wheeled vehicle > self-propelled vehicle"
            " > motor vehicle > car > convertible",
        ),
    ],
)
def test_the_shipped_tree_reads_well(leaf: int, path: str) -> None:
    tree = Hierarchy.load(OUT)
    assert " > ".join(str(tree.by_id[node_id].name) for node_id in tree.path_to(leaf)) == path


def test_few_nodes_of_the_shipped_tree_are_generic() -> None:
    generic = [node.name for node in Hierarchy.load(OUT).decisions if node.id in GENERIC]
    assert generic == ["physical entity", "artifact", "instrumentality", "matter"]


@needs_wordnet
def test_every_synset_of_the_shipped_tree_is_a_hypernym_of_all_leaves_below() -> None:
    tree, wnids = Hierarchy.load(OUT), leaf_wnids(Hierarchy.load(OUT))
    for node in tree.decisions:
        assert node.name == real_wordnet().name(node.id)
        for leaf in tree.leaves_below[node.id]:
            assert node.id in real_wordnet().lineage(wnids[leaf])


@needs_wordnet
@needs_photos
def test_the_shipped_tree_is_what_the_command_makes(tmp_path: Path) -> None:
    out = tmp_path / "hierarchy.json"
    result = CliRunner().invoke(main, ["--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == OUT.read_bytes()


@needs_wordnet
def test_the_shipped_tree_can_be_built_from_its_own_leaves() -> None:
    tree = Hierarchy.load(OUT)
    wnids = leaf_wnids(tree)
    assert wordnet_hierarchy(wnids, [str(tree.by_id[w].name) for w in wnids], real_wordnet()) == tree


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
