"""Induced trees: the dendrogram of Ward clustering, with ids and an order that depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import AgglomerativeClustering

from shared.cards.hierarchy import Hierarchy
from shared.errors import InvalidHierarchy
from training.trees.induced_tree import Leaf, induced_hierarchy

Rows = NDArray[np.float64]


def leaves(count: int) -> list[Leaf]:
    return [Leaf(f"n{k:03}", f"class {k}") for k in range(count)]


def random_rows(count: int, width: int = 6, *, seed: int = 0) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, width)) * np.linspace(1, 9, count)[:, None]


def groups(tree: Hierarchy) -> set[tuple[int, ...]]:
    return {tree.leaves_below[node.id] for node in tree.decisions}


def scikit_groups(rows: Rows) -> set[tuple[int, ...]]:
    """The groups that scikit-learn's Ward clustering joins, by their classes."""
    below = [{k} for k in range(len(rows))]
    for a, b in AgglomerativeClustering(linkage="ward", metric="euclidean").fit(rows).children_:
        below.append(below[a] | below[b])
    return {tuple(sorted(group)) for group in below[len(rows) :]}


def ward_groups(rows: Rows) -> set[tuple[int, ...]]:
    """The definition, run on the rows: join the two groups whose union adds the least variance."""
    open_groups: list[tuple[int, ...]] = [(k,) for k in range(len(rows))]
    joined = set()

    def added_variance(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        between = rows[list(a)].mean(0) - rows[list(b)].mean(0)
        return float(len(a) * len(b) / (len(a) + len(b)) * (between @ between))

    while len(open_groups) > 1:
        pairs = [(a, b) for i, a in enumerate(open_groups) for b in open_groups[i + 1 :]]
        a, b = min(pairs, key=lambda pair: added_variance(*pair))
        union = tuple(sorted(a + b))
        open_groups = [group for group in open_groups if group not in (a, b)] + [union]
        joined.add(union)
    return joined


@given(st.integers(2, 14), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_tree_is_the_dendrogram_of_ward_clustering(count: int, seed: int, normalise: bool) -> None:
    rows = random_rows(count, seed=seed)
    tree = induced_hierarchy(rows, leaves(count), normalise=normalise)
    clustered = rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalise else rows
    assert groups(tree) == scikit_groups(clustered) == ward_groups(clustered)
    assert all(len(node.children) == 2 for node in tree.decisions)
    assert len(tree.decisions) == count - 1


@given(st.integers(2, 14), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_order_of_the_classes_changes_only_their_numbers(count: int, seed: int) -> None:
    rows, order = random_rows(count, seed=seed), np.random.default_rng(seed).permutation(count)
    tree = induced_hierarchy(rows, leaves(count), normalise=True)
    shuffled = induced_hierarchy(rows[order], [leaves(count)[k] for k in order], normalise=True)
    assert [(n.id, n.name, n.children) for n in shuffled.nodes] == [(n.id, n.name, n.children) for n in tree.nodes]
    assert {n.id: order[n.leaf] for n in shuffled.nodes if n.leaf is not None} == {
        n.id: n.leaf for n in tree.nodes if n.leaf is not None
    }


def test_a_node_has_the_id_of_its_set_of_leaves_whatever_the_shape_below_and_the_names() -> None:
    a = induced_hierarchy(np.array([[0.0], [1], [3], [50]]), leaves(4), normalise=False)
    b = induced_hierarchy(np.array([[0.0], [2], [3], [60]]), [Leaf(x.id, "thing") for x in leaves(4)], normalise=False)
    assert groups(a) == {(0, 1), (0, 1, 2), (0, 1, 2, 3)} and groups(b) == {(1, 2), (0, 1, 2), (0, 1, 2, 3)}
    ids = [{tree.leaves_below[node.id]: node.id for node in tree.decisions} for tree in (a, b)]
    assert ids[0][0, 1, 2] == ids[1][0, 1, 2] and ids[0][0, 1, 2, 3] == ids[1][0, 1, 2, 3]
    assert ids[0][0, 1] != ids[1][1, 2]


def test_the_child_with_the_smallest_leaf_comes_first() -> None:
    tree = induced_hierarchy(np.array([[9.0], [0], [8], [1]]), leaves(4), normalise=False)
    assert [tree.leaves_below[child] for child in tree.root.children] == [(0, 2), (1, 3)]


def test_lengths_matter_to_raw_rows_only() -> None:
    rows = np.array([[1.0, 0.1], [10, 0], [0.1, 1], [0, 10]])
    assert groups(induced_hierarchy(rows, leaves(4), normalise=True)) == {(0, 1), (2, 3), (0, 1, 2, 3)}
    assert (0, 2) in groups(induced_hierarchy(rows, leaves(4), normalise=False))


def test_inner_nodes_have_no_names_and_leaves_have_theirs() -> None:
    tree = induced_hierarchy(random_rows(3), leaves(3), normalise=False)
    assert {(node.name, node.name_source) for node in tree.decisions} == {(None, "leaves")}
    assert [tree.by_id[f"n{k:03}"].name for k in range(3)] == ["class 0", "class 1", "class 2"]


def test_a_chain_of_classes_may_be_as_deep_as_it_likes() -> None:
    rows = 1.5 ** np.arange(1500.0)[:, None]
    tree = induced_hierarchy(np.log(rows) ** 40 / 1e120, leaves(1500), normalise=False)
    assert tree.class_count == 1500


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([[1.0, 2], [0, 0], [2, 1]], "class 1 has a row of zeros"),
        ([[1.0, 2], [np.nan, 0]], "not finite"),
        ([[1.0, np.inf], [1, 0]], "not finite"),
    ],
)
def test_rows_that_cannot_be_clustered_are_refused(rows: list[list[float]], sentence: str) -> None:
    with pytest.raises(InvalidHierarchy, match=sentence):
        induced_hierarchy(np.array(rows), leaves(len(rows)), normalise=True)
