"""What is true of an image whose WordNet id is known: which class of a model it shows, and which groups hold."""

from __future__ import annotations

from shared.cards.card import ModelCard
from shared.cards.groups import Group
from shared.cards.lineage import lineage
from worker.algebra.kinship import synset


def true_class(card: ModelCard, wnid: str) -> int | None:
    """The class of a model that an image of `wnid` shows: of those that it is a kind of, the narrowest; None where it
    is a kind of none."""
    assert card.hierarchy is not None, f"{card.name} ships without a tree"
    leaves, above = card.hierarchy.leaf_ids, lineage(wnid) | {wnid}
    shown = [index for index, leaf in leaves.items() if synset(leaf) in above]
    return max(shown, key=lambda index: len(lineage(synset(leaves[index]))), default=None)


def holds(group: Group, wnid: str, *, shown: int | None) -> bool:
    """Whether a group is true of an image of `wnid` that shows the class `shown` of the group's model. A wide group
    may hold where the model has no class for the image: a bear is an animal."""
    return shown in group.classes or (group.node is not None and synset(group.node) in lineage(wnid))
