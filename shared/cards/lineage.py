"""What WordNet's nouns are kinds of: all that lies above a synset, on every path.

`wordnet.npz` holds the hypernym relation of WordNet 3.0's nouns (WordNet 3.0 license, Copyright 2006 by Princeton
University, all rights reserved): `synsets`, their S offsets in ascending order, and `pairs`, P x 2 places among them,
a synset and one of its hypernyms, in ascending order. `python -m training.trees.hypernyms` writes it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = Path(__file__).with_name("wordnet.npz")
_SYNSET = re.compile(r"n[0-9]{8}")


def lineage(synset: str) -> frozenset[str]:
    """A WordNet id, as in n02121620, and those of everything it is a kind of; nothing for an id that is no noun of
    WordNet 3.0."""
    if not _SYNSET.fullmatch(synset):
        return frozenset()
    synsets, _ = _table()
    offset = int(synset[1:])
    place = int(np.searchsorted(synsets, offset))
    return _above(place) if place < len(synsets) and synsets[place] == offset else frozenset()


@cache
def _above(place: int) -> frozenset[str]:
    synsets, pairs = _table()
    first, last = np.searchsorted(pairs[:, 0], (place, place + 1))
    return frozenset({f"n{synsets[place]:08}"}).union(*map(_above, pairs[first:last, 1].tolist()))


@cache
def _table() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    with np.load(_FILE, allow_pickle=False) as table:
        return table["synsets"], table["pairs"]
