"""The tree over classes that have WordNet ids: every inner node is a synset that all classes below it are kinds of.

An example is animal, mammal, carnivore, cat. A synset may be a kind of several others; here it follows the one that
leads to its nearest relatives among the classes, so the orange joins the vegetables as produce instead of standing
alone as a part of a plant. Nodes that hardly divide their classes are left out. The same wnids give the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shared.cards.hierarchy import Hierarchy, Node
from shared.errors import InvalidHierarchy
from training.trees.node_names import unique_names
from training.trees.wordnet import LICENCE, WordNet

ORIGIN = "WordNet 3.0, hypernym tree"
HARDLY_DIVIDES = 0.9  # a node with a greater share of its parent's classes gives way to its children


@dataclass(frozen=True)
class Branch:
    """A class, or a synset with the branches below it."""

    id: str
    leaf: int | None = None
    below: tuple[Branch, ...] = ()

    @cached_property
    def classes(self) -> tuple[int, ...]:
        own = () if self.leaf is None else (self.leaf,)
        return (*own, *(leaf for branch in self.below for leaf in branch.classes))

    def walk(self) -> Iterator[Branch]:
        """Itself, then what is below it, like an outline."""
        yield self
        for branch in self.below:
            yield from branch.walk()


def wordnet_hierarchy(wnids: Sequence[str], wordnet: WordNet) -> Hierarchy:
    """The tree over classes 0..K-1, where `wnids[k]` is the synset of class k. Node ids are wnids.

    Raises InvalidHierarchy where WordNet does not know a wnid, or one stands for two classes.
    """
    top, above = _chains(wnids, wordnet)
    root = _grow(top, above, {wnid: leaf for leaf, wnid in enumerate(wnids)})
    leaf_names = {wnid: wordnet.name(wnid) for wnid in wnids}
    inner = {branch.id: branch for branch in root.walk() if branch.below}
    names = leaf_names | unique_names(
        {node_id: wordnet.name(_synset_of(node_id)) for node_id in inner},
        leaves={node_id: [leaf_names[wnids[k]] for k in sorted(branch.classes)] for node_id, branch in inner.items()},
        taken=leaf_names.values(),
    )
    return Hierarchy(tuple(_node(branch, names[branch.id]) for branch in root.walk()), origin=ORIGIN, licence=LICENCE)


def _node(branch: Branch, name: str) -> Node:
    children = tuple(child.id for child in branch.below)
    return Node(branch.id, name, children, branch.leaf, "wordnet" if children else None)


def _chains(wnids: Sequence[str], wordnet: WordNet) -> tuple[str, dict[str, list[str]]]:
    """The top synset, and below each synset those that follow it, in the order of the classes."""
    covered = _covered_classes(wnids, wordnet)
    tops, below = set(), dict[str, list[str]]()
    for wnid in wnids:
        synset, parent = wnid, _parent(wnid, covered, wordnet)
        while parent is not None and synset not in below.setdefault(parent, []):
            below[parent].append(synset)
            synset, parent = parent, _parent(parent, covered, wordnet)
        if parent is None:
            tops.add(synset)
    if len(tops) != 1:
        raise InvalidHierarchy(f"the classes end under {len(tops)} synsets that have nothing above them instead of one")
    return tops.pop(), below


def _covered_classes(wnids: Sequence[str], wordnet: WordNet) -> dict[str, set[int]]:
    """The classes that are kinds of each synset, by any path."""
    covered: dict[str, set[int]] = {}
    for leaf, wnid in enumerate(wnids):
        for synset in wordnet.lineage(wnid):
            covered.setdefault(synset, set()).add(leaf)
    return covered


def _parent(wnid: str, covered: Mapping[str, set[int]], wordnet: WordNet) -> str | None:
    """The hypernym on the way to the deepest synset that also covers other classes; then the deepest hypernym."""

    def meeting_depth(hypernym: str) -> int:
        return max((wordnet.depth(s) for s in wordnet.lineage(hypernym) if covered[s] > covered[wnid]), default=-1)

    hypernyms = wordnet.synset(wnid).hypernyms
    return min(hypernyms, key=lambda h: (-meeting_depth(h), -wordnet.depth(h), h), default=None)


def _grow(wnid: str, below: Mapping[str, list[str]], leaf_of: Mapping[str, int]) -> Branch:
    """The branch of a synset, less all nodes that do not divide their classes."""
    branches = [_grow(synset, below, leaf_of) for synset in below.get(wnid, ())]
    if wnid in leaf_of:
        branches.insert(0, Branch(wnid, leaf_of[wnid]))
    if len(branches) == 1:
        return branches[0]
    most = HARDLY_DIVIDES * sum(len(branch.classes) for branch in branches)
    kept = (part for branch in branches for part in (branch.below if len(branch.classes) > most else (branch,)))
    return Branch(_kinds_id(wnid) if wnid in leaf_of else wnid, below=tuple(kept))


def _kinds_id(wnid: str) -> str:
    """The id of a synset's inner node where the synset is a class too; that class is then a leaf below it."""
    return f"{wnid}-kinds"


def _synset_of(node_id: str) -> str:
    return node_id.removesuffix("-kinds")
