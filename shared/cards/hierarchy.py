"""A class hierarchy: the tree whose leaves are a network's classes and whose inner nodes are decisions.

The file format is JSON: {"origin", "licence", "nodes": [{"id", "name", "children": [ids]} ...]}, leaves without
"children" and with "class", the index of the class they stand for. Every node but the root has exactly one parent.
A decision may say where its name is from, in "name_source": a person or another project who wrote it into the "file"
(so where nothing is said), "wordnet", or nothing but the "leaves" below, in which case the name is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shared import json_text
from shared.errors import InvalidHierarchy

LARGEST_FILE = 64 * 1024 * 1024  # bytes
MOST_NODES = 200_000
DEEPEST = 512  # edges from the root down to a leaf: each is a decision that an answer explains
MOST_PAIRS = 2_000_000  # of a node and a leaf below it: WordNet's tree over ImageNet has 7,807
_MOST_VALUES = 16 * MOST_NODES  # of the file's JSON
NAME_SOURCES = ("file", "wordnet", "leaves")


@dataclass(frozen=True)
class Node:
    """One node. `leaf` is the class index where the node is a leaf, None where it is a decision."""

    id: str
    name: str | None
    children: tuple[str, ...] = ()
    leaf: int | None = None
    name_source: str | None = None  # one of NAME_SOURCES; None where the file does not say


@dataclass(frozen=True)
class Hierarchy:
    """A checked tree: one root, one parent for every other node, leaves numbered 0..K-1 without a gap."""

    nodes: tuple[Node, ...]
    origin: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Hierarchy:
        """Reads what `to_dict` writes. Raises InvalidHierarchy."""
        try:
            nodes = tuple(
                Node(
                    str(n["id"]),
                    n.get("name"),
                    tuple(map(str, n.get("children", ()))),
                    n.get("class"),
                    n.get("name_source"),
                )
                for n in data["nodes"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidHierarchy(f"a node of the hierarchy is not readable: {error!r}") from error
        return cls(nodes, origin=str(data.get("origin", "")), licence=str(data.get("licence", "")))

    @classmethod
    def from_node_link(cls, data: Mapping[str, Any], *, leaf_ids: list[str], origin: str, licence: str) -> Hierarchy:
        """Read networkx's node-link form (nbdt's files). `leaf_ids[k]` is the node id of class k."""
        children: dict[str, list[str]] = {}
        for link in data["links"]:
            children.setdefault(link["source"], []).append(link["target"])
        leaf_of = {node_id: index for index, node_id in enumerate(leaf_ids)}
        nodes = tuple(
            Node(n["id"], n.get("label"), tuple(children.get(n["id"], ())), leaf_of.get(n["id"])) for n in data["nodes"]
        )
        return cls(nodes, origin=origin, licence=licence)

    @classmethod
    def load(cls, path: Path) -> Hierarchy:
        """Reads a file `hierarchy.json`. Raises InvalidHierarchy."""
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise InvalidHierarchy(f"{path.name} has more than {LARGEST_FILE} bytes, which no tree needs")
            return cls.from_dict(json_text.decode_few(path.read_bytes(), most=_MOST_VALUES))
        except (OSError, ValueError) as error:
            raise InvalidHierarchy(f"{path.name} is not a readable hierarchy: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The tree as its file has it: `origin`, `licence` and `nodes`."""
        return {"origin": self.origin, "licence": self.licence, "nodes": [_node_to_dict(n) for n in self.nodes]}

    @cached_property
    def by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def parent_of(self) -> dict[str, str]:
        return {child: node.id for node in self.nodes for child in node.children}

    @cached_property
    def root(self) -> Node:
        return next(node for node in self.nodes if node.id not in self.parent_of)

    @cached_property
    def decisions(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.children)

    @cached_property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(parent, child) pairs, the children of one parent side by side. Their order numbers the edges."""
        return tuple((node.id, child) for node in self.decisions for child in node.children)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The node that each edge leads to; last the root, to which none does."""
        return (*(child for _, child in self.edges), self.root.id)

    @cached_property
    def edge_into(self) -> dict[str, int]:
        """Number of the edge that leads to each node but the root."""
        return {child: number for number, (_, child) in enumerate(self.edges)}

    @cached_property
    def leaves_below(self) -> dict[str, tuple[int, ...]]:
        """Class indices under each node, sorted."""
        below: dict[str, tuple[int, ...]] = {}
        for node_id in self._children_first():
            node = self.by_id[node_id]
            own = (node.leaf,) if node.leaf is not None else ()
            below[node_id] = tuple(sorted([*own, *(leaf for child in node.children for leaf in below[child])]))
        return below

    @cached_property
    def depth_of(self) -> dict[str, int]:
        """Edges from the root down to each node."""
        depths = {self.root.id: 0}
        for node_id in reversed(list(self._children_first())):
            depths |= dict.fromkeys(self.by_id[node_id].children, depths[node_id] + 1)
        return depths

    @cached_property
    def leaf_ids(self) -> dict[int, str]:
        """Node id of each class's leaf."""
        return {node.leaf: node.id for node in self.nodes if node.leaf is not None}

    @property
    def class_count(self) -> int:
        return len(self.leaf_ids)

    def path_to(self, leaf: int) -> tuple[str, ...]:
        """Node ids from the root's child down to the leaf of a class."""
        path = [self.leaf_ids[leaf]]
        while path[-1] in self.parent_of:
            path.append(self.parent_of[path[-1]])
        return tuple(reversed(path[:-1]))

    def _children_first(self) -> Iterator[str]:
        order, stack = [], [self.root.id]
        while stack:
            node_id = stack.pop()
            order.append(node_id)
            stack.extend(self.by_id[node_id].children)
        return reversed(order)


def _node_to_dict(node: Node) -> dict[str, Any]:
    if node.leaf is not None:
        return {"id": node.id, "name": node.name, "class": node.leaf}
    source = {} if node.name_source is None else {"name_source": node.name_source}
    return {"id": node.id, "name": node.name, **source, "children": list(node.children)}


def _check(tree: Hierarchy) -> None:
    ids = [node.id for node in tree.nodes]
    if not ids:
        raise InvalidHierarchy("the hierarchy has no nodes")
    if len(ids) > MOST_NODES:
        raise InvalidHierarchy(f"the hierarchy has {len(ids)} nodes; at most {MOST_NODES} are taken")
    if len(set(ids)) != len(ids):
        raise InvalidHierarchy("two nodes of the hierarchy have the same id")
    known = set(ids)
    children = [child for node in tree.nodes for child in node.children]
    for child in children:
        if child not in known:
            raise InvalidHierarchy(f"node {child!r} is named as a child but does not exist")
    if len(set(children)) != len(children):
        raise InvalidHierarchy("a node of the hierarchy has more than one parent")
    if len(known) - len(set(children)) != 1:
        raise InvalidHierarchy("the hierarchy must have exactly one root")
    if len(list(tree._children_first())) != len(ids):
        raise InvalidHierarchy("the hierarchy has a cycle")
    depths = [tree.depth_of[node.id] for node in tree.nodes if not node.children]
    if max(depths) > DEEPEST:
        raise InvalidHierarchy(f"the hierarchy has a path of {max(depths)} decisions; at most {DEEPEST} are taken")
    if sum(depths) > MOST_PAIRS:
        raise InvalidHierarchy(
            f"the paths of the hierarchy have {sum(depths)} decisions together; at most {MOST_PAIRS} are taken: "
            "make it less deep, or give it fewer leaves"
        )
    for node in tree.nodes:
        if bool(node.children) == (node.leaf is not None):
            raise InvalidHierarchy(f"node {node.id!r} must have either children or a class")
        if node.leaf is not None and type(node.leaf) is not int:
            raise InvalidHierarchy(f"node {node.id!r} has a class that is not a whole number")
        if not isinstance(node.name, str | None):
            raise InvalidHierarchy(f"node {node.id!r} has a name that is no text")
        if node.name_source not in (None, *NAME_SOURCES):
            raise InvalidHierarchy(f"node {node.id!r} has a name_source that is none of {', '.join(NAME_SOURCES)}")
    leaves = tree.leaves_below[tree.root.id]
    if leaves != tuple(range(len(leaves))):
        raise InvalidHierarchy("the leaves of the hierarchy must cover the classes 0..K-1, each once")
