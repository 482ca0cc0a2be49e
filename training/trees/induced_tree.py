"""The tree that a network's own head implies: classes whose rows are alike share a node (arXiv 2004.00221).

Ward clustering joins, again and again, the two groups of rows whose union adds the least variance, so the tree is
binary. It is scipy's `linkage`, which scikit-learn's AgglomerativeClustering calls too: it returns the joins and
nothing else, and loads three times faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from shared.cards.hierarchy import Hierarchy, Node
from shared.errors import InvalidHierarchy

ID_DIGITS = 12  # of a SHA-256, after the letter t


@dataclass(frozen=True)
class Leaf:
    """A class as a leaf: `id` tells it apart, `name` is what people call it."""

    id: str
    name: str


def induced_hierarchy(rows: NDArray[np.floating], leaves: Sequence[Leaf], *, normalise: bool) -> Hierarchy:
    """The binary tree over classes 0..K-1 from the K x D rows (K >= 2) of a linear head; its inner nodes have no names.

    `normalise` divides each row by its length, as in the paper; otherwise rows are taken as they are, as in nbdt.
    The id of an inner node comes from the sorted ids of the leaves below it, and the child that holds the smallest of
    them comes first: neither names nor the order of the classes change them. Raises InvalidHierarchy.
    """
    below: dict[int, tuple[str, ...]] = {k: (leaf.id,) for k, leaf in enumerate(leaves)}
    children: dict[int, tuple[int, int]] = {}
    for node, (a, b) in enumerate(_joins(rows, normalise=normalise), start=len(leaves)):
        below[node] = tuple(sorted(below[a] + below[b]))
        children[node] = (a, b) if below[a] < below[b] else (b, a)
    ids = {node: leaves[node].id if node < len(leaves) else _node_id(below[node]) for node in below}
    nodes = []
    for node in _outline(max(below), children):
        if node < len(leaves):
            nodes.append(Node(ids[node], leaves[node].name, leaf=node))
        else:
            nodes.append(Node(ids[node], None, tuple(ids[child] for child in children[node]), name_source="leaves"))
    return Hierarchy(tuple(nodes))


def _joins(rows: NDArray[np.floating], *, normalise: bool) -> list[tuple[int, int]]:
    """Pairs of groups, in the order in which they are joined: groups 0..K-1 are the rows, K + i is the i-th pair."""
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise InvalidHierarchy("the head's weights hold values that are not finite, so they cannot be clustered")
    if normalise:
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.all():
            raise InvalidHierarchy(f"class {lengths.argmin()} has a row of zeros, which has no direction; use --raw")
        rows = rows / lengths
    return [(int(a), int(b)) for a, b in linkage(rows, method="ward")[:, :2]]


def _node_id(leaf_ids: Sequence[str]) -> str:
    return f"t{hashlib.sha256(' '.join(leaf_ids).encode()).hexdigest()[:ID_DIGITS]}"


def _outline(root: int, children: Mapping[int, tuple[int, int]]) -> Iterator[int]:
    """A node, then what is below it, like an outline; a chain may be as deep as there are classes."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children.get(node, ())))
