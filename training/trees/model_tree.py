"""A model's tree, built from its card and, where its head decides, from its checked weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.cards.card import ModelCard
from shared.cards.class_names import short_name
from shared.cards.hierarchy import Hierarchy
from shared.cards.methods import POOLED_LINEAR
from shared.errors import InvalidHierarchy, ModelUnavailable
from training.trees.induced_tree import Leaf, induced_hierarchy
from training.trees.node_names import name_nodes, with_labels_of, with_names
from training.trees.wordnet import LICENCE, WordNet
from training.trees.wordnet_tree import wordnet_hierarchy
from worker.engine.models import Model
from worker.engine.weights import sha256_of


def wordnet_tree(card: ModelCard, *, dictionary: Path) -> Hierarchy:
    """The tree of what the classes are. Raises ModelUnavailable, InvalidHierarchy or MissingWordNet."""
    _check_classes(card)
    if not card.wnids:
        raise ModelUnavailable(
            f"the card of {card.name} gives no WordNet ids for its classes (wnids), which a WordNet tree needs; "
            f"run: pathlight tree build {card.name} --kind induced"
        )
    return wordnet_hierarchy(card.wnids, WordNet.load(dictionary))


def induced_tree(card: ModelCard, *, normalise: bool, dictionary: Path, labels: Hierarchy | None) -> Hierarchy:
    """The tree that the rows of the head imply.

    Inner nodes take the labels that a tree `labels` carries for the same classes; the others get their names from
    WordNet where the card gives the classes' ids. Raises ModelUnavailable, InvalidHierarchy or MissingWordNet.
    """
    _check_classes(card)
    tree = induced_hierarchy(head_rows(card), _leaves(card), normalise=normalise)
    if labels is not None:
        tree = with_labels_of(tree, labels)
    if card.wnids:
        tree = with_names(tree, name_nodes(tree, card.wnids, WordNet.load(dictionary)))
    rows = "L2-normalised" if normalise else "raw"
    digest = sha256_of(card.weights_path)
    origin = f"induced: Ward clustering of the head's {rows} rows (arXiv 2004.00221), weights SHA-256 {digest}"
    return replace(tree, origin=origin, licence=_licence(card, tree, labels))


def head_rows(card: ModelCard) -> NDArray[np.float32]:
    """K x D weights of the model's linear head, read from its checked file. Raises ModelUnavailable."""
    if card.head != POOLED_LINEAR:
        raise ModelUnavailable(
            f"{card.name} has no linear head whose rows could be clustered; "
            f"where its classes have WordNet ids, run: pathlight tree build {card.name} --kind wordnet"
        )
    rows: NDArray[np.float32] = Model.load(card).weight.numpy()
    return rows


def _leaves(card: ModelCard) -> list[Leaf]:
    """The classes by their WordNet ids, or by their numbers, with zeros in front so that they sort as numbers."""
    width = len(str(card.class_count - 1))
    ids = card.wnids or [f"class-{k:0{width}}" for k in range(card.class_count)]
    return [Leaf(leaf_id, short_name(name)) for leaf_id, name in zip(ids, card.classes, strict=True)]


def _licence(card: ModelCard, tree: Hierarchy, labels: Hierarchy | None) -> str:
    sources = {node.name_source for node in tree.decisions}
    parts = [f"shape: as the weights ({card.facts.get('licence', 'not stated')})"]
    if "wordnet" in sources:
        parts.append(f"names: {LICENCE}")
    if "file" in sources and labels is not None:
        parts.append(f"labels: {labels.licence or 'not stated'}")
    return "; ".join(parts)


def _check_classes(card: ModelCard) -> None:
    if card.class_count < 2:
        raise InvalidHierarchy(f"{card.name} has a single class, so there is nothing to decide")
    for what, listed in (("classes", card.classes), ("wnids", card.wnids)):
        if len(listed) not in (0, card.class_count):
            raise ModelUnavailable(f"the card of {card.name} lists {len(listed)} {what} for {card.class_count} classes")
