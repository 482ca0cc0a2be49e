"""Class hierarchies: read, written, walked, and refused where they are no tree over the classes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.cards.hierarchy import DEEPEST, LARGEST_FILE, MOST_NODES, Hierarchy, Node
from shared.errors import InvalidHierarchy
from shared.settings import REPOSITORY
from training.trees.nbdt_files import nbdt_hierarchy

NODES: list[dict[str, Any]] = [
    {"id": "dog", "name": "dog", "class": 1},
    {"id": "root", "name": None, "children": ["animal", "ship"]},
    {"id": "cat", "name": "cat", "class": 0},
    {"id": "animal", "name": "animal", "children": ["pet", "deer"]},
    {"id": "pet", "name": "pet", "children": ["cat", "dog"]},
    {"id": "deer", "name": "deer", "class": 3},
    {"id": "ship", "name": "ship", "class": 2},
]
DATA = {"origin": "here", "licence": "MIT", "nodes": NODES}
STORED = sorted((REPOSITORY / "models").glob("*/hierarchy.json"))


@pytest.fixture
def tree() -> Hierarchy:
    return Hierarchy.from_dict(DATA)


def changed(node_id: str, **values: Any) -> list[dict[str, Any]]:
    """The nodes with one of them changed; a value of None takes the key away."""
    return [
        {k: v for k, v in (node | values).items() if v is not None or k == "name"} if node["id"] == node_id else node
        for node in NODES
    ]


# -- reading and writing ---------------------------------------------------------------------------------------------


def test_a_hierarchy_survives_the_round_trip(tree: Hierarchy, tmp_path: Path) -> None:
    assert tree.to_dict() == DATA
    assert Hierarchy.from_dict(tree.to_dict()) == tree
    path = tmp_path / "hierarchy.json"
    path.write_text(json.dumps(tree.to_dict()), "utf-8")
    assert Hierarchy.load(path) == tree


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_the_hierarchies_of_our_models_are_trees_over_their_classes(path: Path) -> None:
    tree = Hierarchy.load(path)
    assert Hierarchy.from_dict(tree.to_dict()) == tree
    assert tree.origin and tree.licence
    card = path.with_name("card.json")
    if card.exists():
        assert tree.class_count == json.loads(card.read_text("utf-8"))["class_count"]
    for leaf in range(tree.class_count):
        assert tree.by_id[tree.path_to(leaf)[-1]].leaf == leaf


def test_a_decision_may_say_where_its_name_is_from() -> None:
    tree = Hierarchy.from_dict({"nodes": changed("animal", name_source="wordnet")})
    assert tree.by_id["animal"].name_source == "wordnet"
    assert Hierarchy.from_dict(tree.to_dict()) == tree


def test_ids_may_be_numbers_in_the_file() -> None:
    nodes = [{"id": 1, "children": [2, 3]}, {"id": 2, "class": 0}, {"id": 3, "class": 1}]
    assert Hierarchy.from_dict({"nodes": nodes}).path_to(1) == ("3",)


NODE_LINK = {
    "directed": True,
    "graph": {},
    "nodes": [{"id": "b", "label": "bird"}, {"id": "r", "label": "root"}, {"id": "a"}, {"id": "p"}, {"id": "c"}],
    "links": [
        {"source": "r", "target": "p"},
        {"source": "r", "target": "c"},
        {"source": "p", "target": "b"},
        {"source": "p", "target": "a"},
    ],
}


def test_a_node_link_graph_is_read_with_its_names_and_the_order_of_its_links() -> None:
    tree = Hierarchy.from_node_link(NODE_LINK, leaf_ids=["a", "b", "c"], origin="there", licence="MIT")
    assert tree.root == Node("r", "root", ("p", "c"))
    assert tree.by_id["p"].children == ("b", "a")
    assert [tree.by_id[node_id].leaf for node_id in "abcp"] == [0, 1, 2, None]
    assert (tree.by_id["b"].name, tree.by_id["a"].name) == ("bird", None)
    assert (tree.origin, tree.licence) == ("there", "MIT")


@pytest.mark.parametrize("leaf_ids", [["a", "b"], ["a", "b", "c", "p"], ["a", "b", "x"]])
def test_a_node_link_graph_must_end_in_just_the_classes(leaf_ids: list[str]) -> None:
    with pytest.raises(InvalidHierarchy, match="must have either children or a class"):
        Hierarchy.from_node_link(NODE_LINK, leaf_ids=leaf_ids, origin="", licence="")


def test_nbdts_own_file_reads_as_the_hierarchy_that_we_ship() -> None:
    ours = Hierarchy.load(REPOSITORY / "models/wrn28-10-cifar10/hierarchy.json")
    theirs = nbdt_hierarchy("CIFAR10", "induced-wrn28_10_cifar10")

    def shape(tree: Hierarchy, node_id: str) -> object:
        node = tree.by_id[node_id]
        return node.leaf if node.leaf is not None else frozenset(shape(tree, child) for child in node.children)

    assert shape(theirs, theirs.root.id) == shape(ours, ours.root.id)


# -- walking ---------------------------------------------------------------------------------------------------------


def test_root_parents_decisions_and_edges_are_those_of_the_graph(tree: Hierarchy) -> None:
    assert tree.root.id == "root"
    assert tree.parent_of == {"animal": "root", "ship": "root", "pet": "animal", "deer": "animal", "cat": "pet"} | {
        "dog": "pet"
    }
    assert [node.id for node in tree.decisions] == ["root", "animal", "pet"]
    assert tree.edges == (
        ("root", "animal"),
        ("root", "ship"),
        ("animal", "pet"),
        ("animal", "deer"),
        ("pet", "cat"),
        ("pet", "dog"),
    )
    assert [tree.edge_into[child] for _, child in tree.edges] == list(range(6))
    assert tree.leaf_ids == {0: "cat", 1: "dog", 2: "ship", 3: "deer"}
    assert tree.class_count == 4


def test_a_path_leads_from_the_first_choice_to_the_leaf(tree: Hierarchy) -> None:
    assert [tree.path_to(leaf) for leaf in range(4)] == [
        ("animal", "pet", "cat"),
        ("animal", "pet", "dog"),
        ("ship",),
        ("animal", "deer"),
    ]


def test_below_each_node_lie_its_classes_in_order(tree: Hierarchy) -> None:
    assert tree.leaves_below == {
        "root": (0, 1, 2, 3),
        "animal": (0, 1, 3),
        "pet": (0, 1),
        "cat": (0,),
        "dog": (1,),
        "ship": (2,),
        "deer": (3,),
    }


def test_a_single_leaf_is_a_tree_without_a_choice() -> None:
    tree = Hierarchy((Node("only", "only", leaf=0),))
    assert (tree.class_count, tree.path_to(0), tree.decisions, tree.edges) == (1, (), (), ())


def chain(depth: int) -> tuple[Node, ...]:
    inner = [Node(f"n{i}", None, (f"n{i + 1}", f"leaf{i}")) for i in range(depth)]
    leaves = [Node(f"leaf{i}", None, leaf=i) for i in range(depth)]
    return (*inner, *leaves, Node(f"n{depth}", None, leaf=depth))


def test_a_tree_may_be_deep_up_to_a_bound() -> None:
    tree = Hierarchy(chain(DEEPEST))
    assert tree.class_count == DEEPEST + 1
    assert len(tree.path_to(DEEPEST)) == DEEPEST
    with pytest.raises(InvalidHierarchy, match=f"a path of {DEEPEST + 1} decisions; at most {DEEPEST} are taken"):
        Hierarchy(chain(DEEPEST + 1))


def star(leaves: int, stem: int = 0) -> list[dict[str, Any]]:
    """A root with so many leaves, at the end of a chain of `stem` nodes above it."""
    chain = [{"id": f"s{i}", "children": [f"s{i + 1}"]} for i in range(stem)]
    root = {"id": f"s{stem}", "children": [str(i) for i in range(leaves)]}
    return [*chain, root, *({"id": str(i), "class": i} for i in range(leaves))]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            lambda: json.dumps({"nodes": star(MOST_NODES)}),
            f"has {MOST_NODES + 1} nodes; at most {MOST_NODES} are taken",
        ),
        (lambda: json.dumps({"nodes": star(5000, stem=500)}), "have 2505000 decisions together; at most 2000000"),
        (lambda: json.dumps({"nodes": [{"id": n.id, "children": n.children} for n in chain(10**5)[: 10**5]]}), "named"),
        (lambda: '{"nodes": [' + "{}," * 4_000_000 + "{}]}", "more than 3200000 values"),
        (lambda: '{"nodes": ' + "[" * 100_000, "depth limit exceeded"),
        (lambda: " " * (LARGEST_FILE + 1), f"has more than {LARGEST_FILE} bytes"),
    ],
    ids=["nodes", "paths", "a chain without leaves", "values", "levels", "bytes"],
)
def test_a_file_beyond_a_bound_is_refused_within_the_budget(
    text: Callable[[], str], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "tree.json"
    path.write_text(text())
    began = time.process_time()
    with pytest.raises(InvalidHierarchy, match=words):
        Hierarchy.load(path)
    assert time.process_time() - began < 3


# -- refusing --------------------------------------------------------------------------------------------------------

BROKEN = {
    "no nodes": ([], "the hierarchy has no nodes"),
    "one id twice": ([*NODES, {"id": "cat", "class": 4}], "two nodes of the hierarchy have the same id"),
    "a child that is not there": (
        changed("pet", children=["cat", "dog", "hamster"]),
        "node 'hamster' is named as a child but does not exist",
    ),
    "two parents": (changed("root", children=["animal", "ship", "dog"]), "more than one parent"),
    "one child twice": (changed("pet", children=["cat", "dog", "dog"]), "more than one parent"),
    "two roots": (changed("root", children=["animal"]), "must have exactly one root"),
    "no root": (changed("pet", children=["cat", "dog", "root"]), "must have exactly one root"),
    "a child of itself": ([{"id": "a", "children": ["a"]}], "must have exactly one root"),
    "a circle beside the tree": (
        [*NODES, {"id": "a", "children": ["b"]}, {"id": "b", "children": ["a"]}],
        "the hierarchy has a cycle",
    ),
    "a leaf without a class": (changed("cat", **{"class": None}), "node 'cat' must have either children or a class"),
    "a decision with a class": (changed("pet", **{"class": 4}), "node 'pet' must have either children or a class"),
    "a decision without children": (changed("deer", children=[], **{"class": None}), "'deer' must have either"),
    "one class twice": (changed("dog", **{"class": 0}), "must cover the classes 0..K-1, each once"),
    "a class left out": (changed("deer", **{"class": 4}), "must cover the classes 0..K-1, each once"),
    "a class below zero": (changed("cat", **{"class": -1}), "must cover the classes 0..K-1, each once"),
    "a class in words": (changed("cat", **{"class": "0"}), "node 'cat' has a class that is not a whole number"),
    "a name from elsewhere": (
        changed("pet", name_source="rumour"),
        "name_source that is none of file, wordnet, leaves",
    ),
    "half a class": (changed("cat", **{"class": 0.0}), "node 'cat' has a class that is not a whole number"),
    "a truth for a class": (changed("dog", **{"class": True}), "node 'dog' has a class that is not a whole number"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_graph_that_is_no_tree_over_the_classes_is_refused_with_its_reason(kind: str) -> None:
    nodes, sentence = BROKEN[kind]
    with pytest.raises(InvalidHierarchy, match=sentence):
        Hierarchy.from_dict({"nodes": nodes})


@pytest.mark.parametrize(
    "data",
    [{}, {"nodes": None}, {"nodes": [{"name": "no id"}]}, {"nodes": ["cat"]}, {"nodes": [7]}, [], "tree", None]
    + [{"nodes": [{"id": "a", "children": 3}]}, {"nodes": [{"id": "a", "children": [["b"]]}]}],
    ids=str,
)
def test_data_of_another_shape_is_refused(data: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidHierarchy):
        Hierarchy.from_dict(data)
    path = tmp_path / "hierarchy.json"
    path.write_text(json.dumps(data), "utf-8")
    with pytest.raises(InvalidHierarchy):
        Hierarchy.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"], ids=["empty", "half", "not text"])
def test_a_file_that_is_not_json_is_refused_by_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hierarchy.json"
    path.write_bytes(content)
    with pytest.raises(InvalidHierarchy, match="^hierarchy.json is not a readable hierarchy: "):
        Hierarchy.load(path)
    with pytest.raises(InvalidHierarchy, match="^absent.json is not a readable hierarchy: "):
        Hierarchy.load(tmp_path / "absent.json")
