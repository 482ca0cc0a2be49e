"""WordNet 3.0's nouns: the synsets, their lemmas and what they are kinds of, read from the file `data.noun`.

A synset goes by its wnid: "n" and the eight digits of its offset in that file. Data sets use the offsets of 3.0,
and other versions have other ones, so a dictionary of another version is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from shared.errors import InvalidHierarchy, MissingWordNet

FOLDER = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts it
REMEDY = "install it with `apt-get install wordnet-base` or name its folder with --wordnet"
VERSION = "WordNet 3.0"
LICENCE = "WordNet 3.0 license, Copyright 2006 by Princeton University, all rights reserved"
HYPERNYM_POINTERS = ("@", "@i")  # a kind of; an instance of


@dataclass(frozen=True)
class Synset:
    """One meaning: the words for it and the wnids of the meanings directly above it, both in the file's order."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]


@dataclass(frozen=True)
class WordNet:
    """All noun synsets by wnid."""

    synsets: Mapping[str, Synset]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> WordNet:
        """Read the file `data.noun` of a folder. Raises MissingWordNet."""
        path = folder / "data.noun"
        try:
            synsets = _read_synsets(path.read_text("ascii"))
        except (OSError, ValueError, IndexError) as error:
            raise MissingWordNet(f"WordNet's noun file {path} is not readable ({error}); {REMEDY}") from error
        return cls(synsets)

    def synset(self, wnid: str) -> Synset:
        """The synset of a WordNet id, such as n02084071. Raises InvalidHierarchy where there is none."""
        if wnid not in self.synsets:
            raise InvalidHierarchy(f"{wnid!r} is not a noun of {VERSION}")
        return self.synsets[wnid]

    def name(self, wnid: str) -> str:
        """The first lemma, as a person writes it."""
        return self.synset(wnid).lemmas[0].replace("_", " ")

    def lineage(self, wnid: str) -> frozenset[str]:
        """The synset and everything above it, on all paths."""
        return frozenset({wnid}).union(*(self.lineage(above) for above in self.synset(wnid).hypernyms))

    def depth(self, wnid: str) -> int:
        """Steps of the longest path from the top, where `entity` has 0."""
        return 1 + max((self.depth(above) for above in self.synset(wnid).hypernyms), default=-1)

    def deepest(self, wnids: Iterable[str]) -> str | None:
        """The most special of some synsets, the smallest wnid where several are; None where there are none."""
        return min(wnids, key=lambda wnid: (-self.depth(wnid), wnid), default=None)


def _read_synsets(text: str) -> dict[str, Synset]:
    lines = text.splitlines()
    header = list(takewhile(lambda line: line.startswith("  "), lines))
    if not any(VERSION in line for line in header):
        raise ValueError(f"it does not say that it is {VERSION}")
    synsets = dict(_read_synset(line) for line in lines[len(header) :])
    for wnid, synset in synsets.items():
        if not synset.lemmas or not all(above in synsets for above in synset.hypernyms):
            raise ValueError(f"it is incomplete at {wnid}")
    return synsets


def _read_synset(line: str) -> tuple[str, Synset]:
    """offset, file, type, count (hex) of (word, id), count of (symbol, offset, type, words), "|", gloss."""
    fields = line.partition("|")[0].split()
    pointers_at = 4 + 2 * int(fields[3], 16)
    end = pointers_at + 1 + 4 * int(fields[pointers_at])
    if len(fields) != end:
        raise ValueError(f"the line of synset {fields[0]} has {len(fields)} fields instead of {end}")
    pointers = zip(fields[pointers_at + 1 : end : 4], fields[pointers_at + 2 : end : 4], strict=True)
    hypernyms = tuple(f"n{offset}" for symbol, offset in pointers if symbol in HYPERNYM_POINTERS)
    return f"n{fields[0]}", Synset(tuple(fields[4:pointers_at:2]), hypernyms)
