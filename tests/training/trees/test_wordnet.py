"""Reading WordNet's noun file."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import MissingWordNet
from tests.training.trees.nouns import (
    ANIMAL,
    BEAST,
    CARNIVORE,
    DOG,
    ENTITY,
    HEADER,
    MAMMAL,
    PET,
    REX,
    noun_line,
    wnid,
    write_nouns,
)
from training.trees.wordnet import REMEDY, Synset, WordNet


def test_a_synset_has_its_words_and_all_that_it_is_a_kind_of(wordnet: WordNet) -> None:
    assert wordnet.synset(wnid(DOG)) == Synset(("dog", "domestic_dog"), (wnid(PET), wnid(CARNIVORE)))
    assert wordnet.name(wnid(BEAST)) == "beast of burden"


def test_an_instance_is_a_kind_of_its_class_too(wordnet: WordNet) -> None:
    assert wordnet.synset(wnid(REX)).hypernyms == (wnid(DOG),)


def test_the_count_of_words_is_hexadecimal(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(17))
    wordnet = WordNet.load(write_nouns(tmp_path, extra=noun_line(999, words, "@ 1740")))
    assert wordnet.synset(wnid(999)).lemmas == tuple(words.split())


def test_the_lineage_follows_every_path(wordnet: WordNet) -> None:
    assert wordnet.lineage(wnid(DOG)) == {wnid(o) for o in (DOG, PET, CARNIVORE, MAMMAL, ANIMAL, ENTITY)}


def test_the_depth_is_that_of_the_longest_path(wordnet: WordNet) -> None:
    assert [wordnet.depth(wnid(o)) for o in (ENTITY, ANIMAL, PET, DOG)] == [0, 1, 2, 4]


def test_of_equally_deep_synsets_the_smallest_wnid_is_taken(wordnet: WordNet) -> None:
    assert wordnet.deepest([wnid(ANIMAL), wnid(BEAST), wnid(PET)]) == wnid(PET)
    assert wordnet.deepest([]) is None


def test_a_missing_dictionary_is_an_error_that_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingWordNet) as caught:
        WordNet.load(tmp_path)
    assert REMEDY in str(caught.value) and str(tmp_path / "data.noun") in str(caught.value)


def test_a_dictionary_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingWordNet, match=r"does not say that it is WordNet 3\.0"):
        WordNet.load(write_nouns(tmp_path, header=HEADER.replace("3.0", "3.1")))


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param("00000777 05 n 01 half 0 002 @ 00001740 n 0000\n", id="a line is cut off"),
        pytest.param("00000777 05 n\n", id="a line is cut off early"),
        pytest.param(noun_line(777, "orphan", "@ 778"), id="a hypernym does not exist"),
        pytest.param(noun_line(777, "", "@ 1740"), id="a synset has no words"),
        pytest.param("not a dictionary at all\n", id="other text"),
    ],
)
def test_a_damaged_dictionary_is_refused(tmp_path: Path, extra: str) -> None:
    with pytest.raises(MissingWordNet, match="not readable"):
        WordNet.load(write_nouns(tmp_path, extra=extra))


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = write_nouns(tmp_path) / "data.noun"
    path.write_bytes(path.read_bytes().replace(b"hamster", b"h\xe4mster"))
    with pytest.raises(MissingWordNet, match="not readable"):
        WordNet.load(tmp_path)
