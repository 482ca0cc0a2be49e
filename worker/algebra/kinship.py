"""Which classes of two models can be true of the same image. Classes and nodes with WordNet ids can be compared.

Two classes can both be true where they are the same synset or one is a kind of the other. A class that the broader
model lacks is put where that model's tree would have it: none of ImageNet's classes is a deer, but a deer is an
even-toed ungulate, as its antelopes are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.cards.card import ModelCard
from shared.cards.hierarchy import Hierarchy
from shared.cards.lineage import lineage

MOST_KEPT = 100  # pairs; models may be replaced while a worker runs
KINDS = "-kinds"  # ends the id of an inner node whose synset is a class too, which is then a leaf below it


@dataclass(frozen=True)
class Kinship:
    """Of a broad model with K classes and a narrow one with L."""

    table: NDArray[np.bool_]  # K x L, true where both classes can be true of one image

    @classmethod
    def of(cls, broad: Hierarchy, narrow: Hierarchy) -> Kinship | None:
        """None where the two trees have no ids that can be compared."""
        ours, theirs = _lineages(broad), _lineages(narrow)
        if not any(ours) or not any(theirs):
            return None
        own_ids, other_ids = ([synset(tree.leaf_ids[k]) for k in range(tree.class_count)] for tree in (broad, narrow))
        table = np.array(
            [
                [other in mine or own in other_lineage for other, other_lineage in zip(other_ids, theirs, strict=True)]
                for own, mine in zip(own_ids, ours, strict=True)
            ]
        )
        for j in np.flatnonzero(~table.any(0)):
            table[_nearest(broad, theirs[j]), j] = True
        return cls(table)

    def support(self, probabilities: NDArray[np.float32], classes: Iterable[int]) -> float:
        """How much of the broad model's K probabilities goes to classes that can be true where one of these classes of
        the narrow model is."""
        return float(probabilities[self.table[:, list(classes)].any(1)].sum())

    def touches(self, ours: Sequence[int], theirs: Sequence[int]) -> bool:
        """Whether any class of a broad group can be true where one of a narrow group is."""
        return bool(self.table[np.ix_(list(ours), list(theirs))].any())

    def covers(self, classes: Iterable[int]) -> bool:
        """Whether a narrow group can be true beside every class of the broad model, which then cannot confirm it."""
        return bool(self.table[:, list(classes)].any(1).all())


class Kinships:
    """The kinship of every two models that were asked together, each worked out once and kept while there are few."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Kinship | None] = {}

    def between(self, broad: ModelCard, narrow: ModelCard) -> Kinship | None:
        """None where they cannot be compared."""
        if broad.hierarchy is None or narrow.hierarchy is None:
            return None
        key = broad.fingerprint, narrow.fingerprint
        if key not in self._known and len(self._known) >= MOST_KEPT:
            self._known.clear()
        if key not in self._known:
            self._known[key] = Kinship.of(broad.hierarchy, narrow.hierarchy)
        return self._known[key]


def synset(node_id: str) -> str:
    """The WordNet id of a node."""
    return node_id.removesuffix(KINDS)


def is_kind_of(tree: Hierarchy, node_id: str, other: str) -> bool:
    """Whether everything below a node of a tree is a kind of `other`, a node id of any tree."""
    return all(synset(other) in lineage(synset(tree.leaf_ids[k])) for k in tree.leaves_below[node_id])


def _lineages(tree: Hierarchy) -> list[frozenset[str]]:
    return [lineage(synset(tree.leaf_ids[k])) for k in range(tree.class_count)]


def _nearest(broad: Hierarchy, above: frozenset[str]) -> list[int]:
    """The classes below the deepest node of the broad tree that is in a lineage; all where none is."""
    known = [node.id for node in broad.nodes if synset(node.id) in above]
    deepest = max(known, key=lambda node_id: broad.depth_of[node_id], default=broad.root.id)
    return list(broad.leaves_below[deepest])
