"""Names for a tree's inner nodes: the deepest synset that all leaves below a node are kinds of.

Labels that a tree already carries are kept. Two nodes never share a name: the wider one keeps it plain, the other
adds one of its leaves, as in `animal (goldfish)`. Nothing is invented: where nothing is shared, the name is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from shared.cards.class_names import short_name
from shared.cards.hierarchy import Hierarchy, Node
from training.trees.wordnet import WordNet

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
    source: str  # one of shared.cards.hierarchy.NAME_SOURCES
    wnid: str | None  # the synset of the name, where it is known

    @property
    def generic(self) -> bool:
        return is_generic(self.name)


def name_nodes(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> tuple[NodeName, ...]:
    """One record for each inner node, in the tree's order. `wnids[k]` is the synset of class k."""
    below = hierarchy.leaves_below
    shared = shared_synsets(hierarchy, wnids, wordnet)
    synsets = {node.id: _synset(node, shared[node.id], wordnet) for node in hierarchy.decisions}
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


def shared_synsets(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> dict[str, frozenset[str]]:
    """By inner node, all that every leaf below is a kind of."""
    lineages = [wordnet.lineage(wnid) for wnid in wnids]
    below = hierarchy.leaves_below
    return {n.id: frozenset.intersection(*(lineages[k] for k in below[n.id])) for n in hierarchy.decisions}


def with_names(hierarchy: Hierarchy, names: Iterable[NodeName]) -> Hierarchy:
    """The tree with its inner nodes called by `names`."""
    record_of = {record.node: record for record in names}

    def named(node: Node) -> Node:
        record = record_of.get(node.id)
        return node if record is None else replace(node, name=record.name, name_source=record.source)

    return replace(hierarchy, nodes=tuple(map(named, hierarchy.nodes)))


def with_labels_of(hierarchy: Hierarchy, old: Hierarchy) -> Hierarchy:
    """The tree with the labels that `old` carries for the same classes, other than those this module gave."""
    labels = {
        old.leaves_below[node.id]: node.name
        for node in old.decisions
        if node.name is not None and node.name_source in (None, "file")
    }
    names = ((node, labels.get(hierarchy.leaves_below[node.id])) for node in hierarchy.decisions)
    return with_names(hierarchy, [NodeName(node.id, name, "file", None) for node, name in names if name is not None])


def plain_name(name: str) -> str:
    """A name without the leaf that was added to make it unique."""
    return name.partition(" (")[0]


def is_generic(name: str | None) -> bool:
    """Whether a name is that of a very general synset."""
    return name is not None and plain_name(name) in GENERIC.values()


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


def _synset(node: Node, shared: frozenset[str], wordnet: WordNet) -> str | None:
    """That of a label which the file carries, otherwise the deepest of those that all leaves below share."""
    if node.name is not None:
        return node.id if node.id in wordnet.synsets else None
    return wordnet.deepest(shared)


def _leaf_names(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> dict[int, str]:
    leaves = ((node.leaf, node.name) for node in hierarchy.nodes if node.leaf is not None)
    return {leaf: short_name(wordnet.name(wnids[leaf]) if name is None else name) for leaf, name in leaves}


def _record(node: Node, name: str | None, wnid: str | None, wordnet: WordNet) -> NodeName:
    if node.name is not None:
        return NodeName(node.id, node.name, node.name_source or "file", wnid)
    return NodeName(node.id, name, "leaves" if name is None else "wordnet", wnid)
