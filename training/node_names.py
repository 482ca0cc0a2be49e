"""Names for a tree's inner nodes: the deepest synset that all leaves below a node are kinds of.

Labels that a tree already carries are kept. Two nodes never share a name: the wider one keeps it plain, the other
adds one of its leaves, as in `animal (goldfish)`. Nothing is invented: where nothing is shared, the name is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from shared.cards import short_name
from shared.hierarchy import Hierarchy, Node
from training.wordnet import WordNet

GENERIC = {  # synsets so general that, as a name, they say little
    "n00001740": "entity",
    "n00001930": "physical entity",
    "n00002137": "abstraction",
    "n00002452": "thing",
    "n00002684": "object",
    "n00003553": "whole",
    "n00004258": "living thing",
    "n00004475": "organism",
    "n00007347": "causal agent",
    "n00019128": "natural object",
    "n00019613": "substance",
    "n00020090": "substance",
    "n00020827": "matter",
    "n00021939": "artifact",
    "n03575240": "instrumentality",
    "n13809207": "part",
    "n15046900": "solid",
}


@dataclass(frozen=True)
class NodeName:
    """What an inner node is called and why: `source` is the tree's file, WordNet, or nothing but the leaves below."""

    node: str
    name: str | None
    source: Literal["file", "wordnet", "leaves"]
    wnid: str | None  # the synset of the name, where it is known

    @property
    def generic(self) -> bool:
        return self.wnid in GENERIC


def name_nodes(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> tuple[NodeName, ...]:
    """One record for each inner node, in the tree's order. `wnids[k]` is the synset of class k."""
    below = hierarchy.leaves_below
    lineages = [wordnet.lineage(wnid) for wnid in wnids]
    synsets = {
        node.id: _synset(node, [lineages[leaf] for leaf in below[node.id]], wordnet) for node in hierarchy.decisions
    }
    leaf_names = _leaf_names(hierarchy, wnids, wordnet)
    names = unique_names(
        {
            node.id: wordnet.name(wnid)
            for node in hierarchy.decisions
            if node.name is None and (wnid := synsets[node.id]) is not None
        },
        leaves={node.id: [leaf_names[leaf] for leaf in below[node.id]] for node in hierarchy.decisions},
        taken=[*leaf_names.values(), *(node.name for node in hierarchy.decisions if node.name is not None)],
    )
    return tuple(_record(node, names.get(node.id), synsets[node.id], wordnet) for node in hierarchy.decisions)


def with_names(hierarchy: Hierarchy, names: Iterable[NodeName]) -> Hierarchy:
    """The tree with its inner nodes called by `names`."""
    name_of = {record.node: record.name for record in names}
    return replace(hierarchy, nodes=tuple(replace(n, name=name_of.get(n.id, n.name)) for n in hierarchy.nodes))


def unique_names(
    plain: Mapping[str, str], *, leaves: Mapping[str, Sequence[str]], taken: Iterable[str]
) -> dict[str, str]:
    """Names by node id, all different and none of them in `taken`; `leaves` are the names of the leaves below."""
    used, names = set(taken), {}
    for node_id in sorted(plain, key=lambda node_id: (-len(leaves[node_id]), node_id)):
        if plain[node_id] not in used:
            names[node_id] = plain[node_id]
            used.add(plain[node_id])
    # Few leaves first: in a tree every node then finds a leaf that no node below it has used up.
    for node_id in sorted(plain.keys() - names.keys(), key=lambda node_id: (len(leaves[node_id]), node_id)):
        names[node_id] = next(n for n in _qualified(plain[node_id], leaves[node_id]) if n not in used)
        used.add(names[node_id])
    return names


def _qualified(name: str, leaves: Sequence[str]) -> Iterator[str]:
    yield from (f"{name} ({leaf})" for leaf in leaves if leaf != name)
    yield from (f"{name} ({leaves[0]} {number})" for number in count(2))  # where leaves share their names


def _synset(node: Node, lineages: Sequence[frozenset[str]], wordnet: WordNet) -> str | None:
    """That of a label which the file carries, otherwise the deepest in all the lineages of the leaves below."""
    if node.name is not None:
        return node.id if node.id in wordnet.synsets else None
    return wordnet.deepest(frozenset.intersection(*lineages))


def _leaf_names(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> dict[int, str]:
    leaves = ((node.leaf, node.name) for node in hierarchy.nodes if node.leaf is not None)
    return {leaf: short_name(wordnet.name(wnids[leaf]) if name is None else name) for leaf, name in leaves}


def _record(node: Node, name: str | None, wnid: str | None, wordnet: WordNet) -> NodeName:
    if node.name is not None:
        return NodeName(node.id, node.name, "file", wnid)
    return NodeName(node.id, name, "leaves" if name is None else "wordnet", wnid)
