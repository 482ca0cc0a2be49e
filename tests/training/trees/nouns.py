"""A small dictionary in WordNet's format, the real one, and what the tests of trees build from them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from shared.cards.hierarchy import Hierarchy, Node
from training.trees.wordnet import FOLDER, WordNet
from training.trees.wordnet_tree import wordnet_hierarchy

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


def installed() -> bool:
    return (FOLDER / "data.noun").exists()


needs_wordnet = pytest.mark.skipif(
    not installed(), reason="WordNet 3.0 is not installed (apt-get install wordnet-base)"
)


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


@cache
def real_wordnet() -> WordNet:
    return WordNet.load()


def build(offsets: Iterable[int], wordnet: WordNet) -> Hierarchy:
    wnids = [wnid(offset) for offset in offsets]
    return wordnet_hierarchy(wnids, wordnet)


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
