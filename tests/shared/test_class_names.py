"""Names of classes: which are shortened, and which classes a word names."""

from __future__ import annotations

import pytest

from shared.cards.class_names import alike, classes_named, imagenet_names, short_name, told_apart


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("tench, Tinca tinca", "tench"),
        ("maillot (swimsuit), tank suit", "maillot (swimsuit)"),
        ("cat", "cat"),
        ("cat, black", "cat, black"),
        ("", ""),
    ],
)
def test_only_imagenets_lists_of_synonyms_are_shortened(name: str, short: str) -> None:
    assert short_name(name) == short


def test_no_two_of_imagenets_short_names_are_the_same() -> None:
    assert len(set(map(short_name, imagenet_names()))) == len(imagenet_names()) == 1000


def test_a_comma_in_a_name_of_ones_own_parts_nothing() -> None:
    cats = ("cat, black", "cat, white")
    assert [classes_named(cats, word) for word in ("cat, white", "Cat, Black ", "cat")] == [(1,), (0,), ()]


def test_names_that_differ_by_case_alone_are_told_apart_where_the_word_does() -> None:
    letters = ("a", "B", "A")
    assert [classes_named(letters, word) for word in ("a", "A", "b")] == [(0,), (2,), (1,)]
    assert alike(letters) == ()


def test_a_short_name_is_one_of_its_class_and_gives_way_to_a_whole_name() -> None:
    fish = ("tench, Tinca tinca", "goldfish, Carassius auratus")
    assert [classes_named(fish, word) for word in ("tench", "GOLDFISH", "tinca tinca")] == [(0,), (1,), ()]
    assert classes_named((*fish, "tench"), "tench") == (2,)


def test_classes_of_one_name_are_all_named() -> None:
    birds = ("crane", "heron", "crane")
    assert classes_named(birds, "Crane") == alike(birds) == (0, 2)
    assert alike(("tench", "tench, Tinca tinca")) == (0, 1)


def test_where_another_library_calls_two_classes_the_same_they_get_the_names_they_have_here() -> None:
    theirs = [short_name(name).partition(" (")[0] for name in imagenet_names()]
    assert [name for name in theirs if theirs.count(name) > 1] == ["crane", "crane", "maillot", "maillot"]
    apart = told_apart(theirs)
    assert len(set(apart)) == 1000
    assert {"crane (wading bird)", "crane (lifting device)"} <= set(apart) and apart[0] == "tench"
