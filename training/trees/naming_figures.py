"""How well a tree's inner nodes are named, in figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.cards.hierarchy import Hierarchy
from training.trees.node_names import NodeName, name_nodes, plain_name, shared_synsets
from training.trees.wordnet import WordNet


@dataclass(frozen=True)
class NamingFigures:
    """Shares of all inner nodes in [0, 1]. A name is consistent if all leaves below are kinds of what it means."""

    decisions: int
    named: float
    generic: float
    unique: bool
    consistent: bool


def naming_figures(hierarchy: Hierarchy, wnids: Sequence[str], wordnet: WordNet) -> NamingFigures:
    """Name the nodes that have no label yet, and measure all names. `wnids[k]` is the synset of class k.

    Consistency is checked on the words alone: some synset that all leaves below share must have the name as a lemma.
    """
    records = name_nodes(hierarchy, wnids, wordnet)
    shared = shared_synsets(hierarchy, wnids, wordnet)
    names = [record.name for record in records if record.name is not None]
    leaf_names = {node.name for node in hierarchy.nodes if node.leaf is not None}
    count = len(records)
    return NamingFigures(
        decisions=count,
        named=len(names) / count,
        generic=sum(record.generic for record in records) / count,
        unique=len(set(names)) == len(names) and leaf_names.isdisjoint(names),
        consistent=all(_is_consistent(record, shared[record.node], wordnet) for record in records),
    )


def _is_consistent(record: NodeName, shared: frozenset[str], wordnet: WordNet) -> bool:
    if record.name is None:
        return True
    lemma = plain_name(record.name).replace(" ", "_")
    return any(lemma in wordnet.synset(wnid).lemmas for wnid in shared)
