"""What WordNet's nouns are kinds of, by the table that is shipped, against the dictionary itself."""

from __future__ import annotations

import numpy as np
import pytest

from shared.cards.lineage import lineage
from tests.training.trees.nouns import needs_wordnet, real_wordnet
from training.trees.hypernyms import FILE, table

TABBY, CAT, CARNIVORE, ANIMAL, ENTITY = "n02123045", "n02121620", "n02075296", "n00015388", "n00001740"
DOG, DOMESTIC = "n02084071", "n01317541"


def test_a_tabby_is_a_cat_a_carnivore_and_an_animal_and_no_dog() -> None:
    assert {TABBY, CAT, CARNIVORE, ANIMAL, ENTITY} <= lineage(TABBY)
    assert DOG not in lineage(TABBY) and TABBY not in lineage(CAT)
    assert lineage(ENTITY) == {ENTITY}


def test_it_follows_every_path() -> None:
    """A dog is a canine, and a domestic animal as well."""
    assert {DOMESTIC, CARNIVORE} <= lineage(DOG)


@pytest.mark.parametrize(
    "unknown",
    ["", "n", "n1", "n00000000", "n00001741", "n99999999", "v00001740", "N00001740", " n00001740", "n00001740\n"]
    + ["n000017400", "f00000012", "n٠٠٠٠١٧٤٠", "cat"],
)
def test_an_id_that_is_no_noun_of_wordnet_has_no_lineage(unknown: str) -> None:
    assert lineage(unknown) == frozenset()


@needs_wordnet
def test_the_shipped_table_is_that_of_the_dictionary() -> None:
    expected = table(real_wordnet())
    with np.load(FILE, allow_pickle=False) as shipped:
        assert set(shipped.files) == {"synsets", "pairs"}
        for name, values in expected.items():
            assert shipped[name].dtype == np.uint32 and np.array_equal(shipped[name], values)
    assert len(expected["synsets"]) == 82_115


@needs_wordnet
def test_the_lineage_is_that_of_the_dictionary() -> None:
    for wnid in sorted(real_wordnet().synsets)[::50]:
        assert lineage(wnid) == real_wordnet().lineage(wnid)
