"""Build the decision tree over the photos100 classes from what WordNet says that they are.

    python -m training.wordnet_tree

Every inner node is a synset that all classes below it are kinds of, such as animal, mammal, carnivore, cat. A synset
may be a kind of several others; here it follows the one that leads to its nearest relatives among the classes, so the
orange joins the vegetables as produce instead of standing alone as a part of a plant. Nodes that hardly divide their
classes are left out. The same classes give the same file, byte for byte.

WordNet 3.0 must be installed: apt-get install wordnet-base
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import click
import numpy as np

from shared.cards import short_name
from shared.errors import InvalidHierarchy, PathlightError
from shared.hierarchy import Hierarchy, Node
from shared.settings import REPOSITORY
from training.node_names import GENERIC, unique_names
from training.wordnet import FOLDER, WordNet

DATA = REPOSITORY.parent / "shared" / "data"
OUT = REPOSITORY / "models" / "resnet18-photos100" / "hierarchy.json"
ORIGIN = "WordNet 3.0, hypernym tree"
LICENCE = "WordNet 3.0 license, Copyright 2006 by Princeton University, all rights reserved"
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


def wordnet_hierarchy(wnids: Sequence[str], names: Sequence[str], wordnet: WordNet) -> Hierarchy:
    """The tree over classes 0..K-1, where `wnids[k]` is the synset of class k. Node ids are wnids."""
    top, above = _chains(wnids, wordnet)
    root = _grow(top, above, {wnid: leaf for leaf, wnid in enumerate(wnids)})
    leaf_names = {wnid: short_name(name) for wnid, name in zip(wnids, names, strict=True)}
    inner = {branch.id: branch for branch in root.walk() if branch.below}
    inner_names = unique_names(
        {node_id: wordnet.name(_synset_of(node_id)) for node_id in inner},
        leaves={node_id: [leaf_names[wnids[k]] for k in sorted(branch.classes)] for node_id, branch in inner.items()},
        taken=leaf_names.values(),
    )
    node_names = leaf_names | inner_names
    nodes = (Node(b.id, node_names[b.id], tuple(child.id for child in b.below), b.leaf) for b in root.walk())
    return Hierarchy(tuple(nodes), origin=ORIGIN, licence=LICENCE)


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


def to_lines(tree: Hierarchy) -> str:
    """The file's text: JSON with one line for each node."""
    data = tree.to_dict()
    nodes = ",\n".join(f"  {json.dumps(node, ensure_ascii=False)}" for node in data.pop("nodes"))
    head = "".join(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n" for key, value in data.items())
    return f'{{\n{head} "nodes": [\n{nodes}\n ]\n}}\n'


def describe(tree: Hierarchy) -> str:
    """One line on the tree's shape."""
    widest = max(tree.decisions, key=lambda node: len(node.children))
    depth = max(len(tree.path_to(leaf)) for leaf in range(tree.class_count))
    generic = [str(node.name) for node in tree.decisions if _synset_of(node.id) in GENERIC]
    return (
        f"{len(tree.decisions)} decisions over {tree.class_count} classes, {depth} deep at most; "
        f"the widest is {widest.name} with {len(widest.children)} children; generic: {', '.join(generic) or 'none'}"
    )


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=DATA, help="Folder with photos100-val.npz.")
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="The file to write.")
@click.option(
    "--wordnet",
    type=click.Path(path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Folder with WordNet 3.0's data.noun.",
)
def main(data: Path, out: Path, wordnet: Path) -> None:
    try:
        tree = wordnet_hierarchy(*_read_classes(data / "photos100-val.npz"), WordNet.load(wordnet))
    except PathlightError as error:
        raise click.ClickException(str(error)) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(to_lines(tree), "utf-8")
    click.echo(f"{out}: {describe(tree)}")


def _read_classes(path: Path) -> tuple[list[str], list[str]]:
    """The wnids and the names of the classes in an archive of pictures."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["wnids"].tolist(), archive["names"].tolist()
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise click.BadParameter(f"{path} does not hold classes with wnids: {error}", param_hint="--data") from error


if __name__ == "__main__":
    main()
