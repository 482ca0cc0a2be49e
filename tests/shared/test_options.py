"""Options: what a job may ask, and what its words mean for each model."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from shared.cards.card import Registry
from shared.cards.groups import Group
from shared.cards.methods import FEATURE_METHODS, LONG_METHODS, METHODS
from shared.errors import InvalidOption
from shared.jobs import TREES, TRUSTS, JobOptions
from shared.options import RUNNER_UP, Plan, best_methods, check, is_long, plan, validated
from tests.shared.cards import card

PETS = card("pets", "Siamese cat, Siamese", "dog", "Great Dane")
ZOO = card("zoo", "lion", "Siamese cat")
UNFETCHED = replace(card("unfetched"), class_count=5)
REGISTRY = Registry({each.name: each for each in (PETS, ZOO, UNFETCHED)})


def pets(index: int) -> Group:
    return PETS.class_group(index)


def planned(target: str = "predicted", contrast: str | None = None, models: str = "pets") -> dict[str, Plan]:
    return plan(JobOptions(tuple(models.split()), target=target, contrast=contrast), REGISTRY)


# -- check -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "allowed"), [("tree", TREES), ("trust", TRUSTS), ("methods", METHODS)])
def test_every_allowed_value_is_allowed_and_another_is_refused_naming_them(
    option: str, allowed: tuple[str, ...]
) -> None:
    def options(value: str) -> JobOptions:
        given = JobOptions(("pets",)).to_dict()
        return JobOptions.from_dict(given | {option: [value] if option == "methods" else value})

    for value in allowed:
        check(options(value))
    for value in ("bogus", "", allowed[0].upper()):
        with pytest.raises(InvalidOption) as caught:
            check(options(value))
        assert str(caught.value) == f"{option}: {value!r} is not one of {', '.join(allowed)}"
        assert caught.value.code == "invalid_option"


def test_one_bad_method_among_good_ones_is_refused() -> None:
    with pytest.raises(InvalidOption, match="^methods: 'bogus' is not one of "):
        check(JobOptions(("pets",), methods=("cam", "bogus")))


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(InvalidOption, match="^models: name at least one model$"):
        check(JobOptions(()))


# -- plan ------------------------------------------------------------------------------------------------------------


def test_by_default_every_model_explains_its_prediction() -> None:
    assert planned(models="pets zoo unfetched") == {name: Plan(None, None) for name in ("pets", "zoo", "unfetched")}


@pytest.mark.parametrize(
    ("word", "index"),
    [
        ("dog", 1),
        ("DOG", 1),
        ("  dog ", 1),
        ("Siamese cat", 0),
        ("Siamese cat, Siamese", 0),
        ("great dane", 2),
        ("0", 0),
        ("2", 2),
        ("002", 2),
    ],
)
def test_a_class_is_named_by_its_whole_name_its_first_name_or_its_index(word: str, index: int) -> None:
    assert planned(target=word) == {"pets": Plan(pets(index), None)}
    other = "dog" if index != 1 else "Siamese cat"
    assert planned(target=other, contrast=word)["pets"].contrast == pets(index)


@pytest.mark.parametrize("option", ["target", "contrast"])
@pytest.mark.parametrize(
    "word", ["Siamese", "dane", "do", "wolf", "", " ", "-", "--1", "1.0", "1e0", "٣", "²", "predicted "]
)
def test_a_word_that_is_no_class_is_refused_naming_what_is_allowed(option: str, word: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        planned(**{option: word}, models="pets zoo")
    keywords = {"target": "'predicted', 'sure'", "contrast": "'runner-up', 'sure'"}[option]
    assert re.sub(r" \(did you mean .*\?\)", "", str(caught.value)) == (
        f"{option}: {word!r} is not a class of pets, zoo; allowed are {keywords}, a class's name or index, or the id "
        "or name of a node of the tree"
    )


def test_a_word_that_is_nearly_a_class_is_refused_naming_those_that_are_meant() -> None:
    with pytest.raises(InvalidOption, match=r"'siamse cat' is not a class of pets \(did you mean Siamese cat\?\); a"):
        planned(target="siamse cat", models="pets")


def test_where_no_method_is_named_each_model_has_its_best() -> None:
    opaque, transformer = (replace(card(head, "cat", "dog"), head=head) for head in ("other", "none"))
    able = [one.methods for one in (PETS, opaque, PETS, transformer)]
    assert best_methods(able) == ("cam", "gradcam", "integrated-gradients")
    assert best_methods([]) == ()


@pytest.mark.parametrize("option", ["target", "contrast"])
@pytest.mark.parametrize("word", ["3", "-1", "999999999"])
def test_an_index_out_of_range_is_refused_naming_the_range(option: str, word: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        planned(**{option: word})
    assert str(caught.value) == f"{option}: {word} is not a class of pets; 0 to 2 are"


@pytest.mark.parametrize("word", ["9" * 5000, "-" * 50 + "7", "1" * 10])
def test_a_number_of_any_length_is_refused_not_computed(word: str) -> None:
    with pytest.raises(InvalidOption, match="^target: "):
        validated(JobOptions, {"models": ["pets"], "target": word})
        planned(target=word)


@pytest.mark.parametrize("option", ["target", "contrast"])
def test_an_index_means_nothing_for_two_models_at_once(option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        planned(**{option: "1"}, models="pets zoo")
    assert str(caught.value) == f"{option}: a class index needs exactly one model; name the class instead"


def test_a_class_applies_to_every_model_that_has_it_by_its_own_index() -> None:
    assert planned(target="Siamese cat", models="pets zoo") == {
        "pets": Plan(pets(0), None),
        "zoo": Plan(ZOO.class_group(1), None),
    }


def test_a_model_that_lacks_the_class_explains_its_prediction_and_says_so() -> None:
    plans = planned(target="dog", models="zoo pets")
    assert plans["pets"] == Plan(pets(1), None)
    assert plans["zoo"].target is None
    (warning,) = plans["zoo"].warnings
    assert warning.to_dict() == {
        "code": "class_not_in_model",
        "params": {"model": "zoo", "class": "dog"},
        "text": "zoo does not know the class 'dog'; it explains its own prediction instead.",
    }


def test_target_and_contrast_are_looked_up_apart() -> None:
    plans = planned(target="dog", contrast="lion", models="pets zoo")
    assert (plans["pets"].target, plans["pets"].contrast) == (pets(1), None)
    assert (plans["zoo"].target, plans["zoo"].contrast) == (None, ZOO.class_group(0))
    assert [w.params["class"] for w in plans["pets"].warnings] == ["lion"]
    assert [w.params["class"] for w in plans["zoo"].warnings] == ["dog"]


def test_a_model_whose_classes_are_not_fetched_yet_lacks_every_name() -> None:
    assert planned(target="Siamese cat", models="pets unfetched")["unfetched"].warnings
    assert planned(target="4", models="unfetched") == {"unfetched": Plan(UNFETCHED.class_group(4), None)}


def test_the_runner_up_is_left_to_each_model() -> None:
    assert planned(contrast="runner-up", models="pets zoo") == {
        "pets": Plan(None, RUNNER_UP),
        "zoo": Plan(None, RUNNER_UP),
    }


@pytest.mark.parametrize(
    ("target", "contrast"), [("Siamese cat", "Siamese cat"), ("Siamese cat", "0"), ("0", "Siamese cat, Siamese")]
)
def test_a_class_is_not_contrasted_with_itself(target: str, contrast: str) -> None:
    with pytest.raises(InvalidOption, match="^contrast: a class or node cannot be contrasted with itself$"):
        planned(target=target, contrast=contrast)


def test_an_unknown_model_is_refused_naming_those_that_there_are() -> None:
    with pytest.raises(InvalidOption) as caught:
        planned(models="pets zebra")
    assert str(caught.value) == "models: 'zebra' is not a model; known are pets, zoo, unfetched"


def test_a_method_that_only_some_models_can_do_is_theirs_and_the_others_warn() -> None:
    opaque = replace(card("opaque", "Siamese cat", "dog"), head="other")
    registry = Registry({"pets": PETS, "opaque": opaque})
    plans = plan(JobOptions(("pets", "opaque"), methods=("rise", "cam")), registry)
    assert plans["pets"] == Plan(None, None, ("rise", "cam"))
    assert plans["opaque"].methods == ("rise",)
    (warning,) = plans["opaque"].warnings
    assert warning.to_dict() == {
        "code": "method_not_in_model",
        "params": {"model": "opaque", "method": "cam"},
        "text": "opaque cannot be explained by cam: its last feature map is followed by more than global average "
        "pooling and one linear layer, so none of its maps is exact.",
    }


def test_a_method_that_no_model_can_do_is_refused_with_the_reason_and_what_is_allowed() -> None:
    transformer = replace(card("vit", "Siamese cat", "dog"), head="none")
    registry = Registry({"vit": transformer})
    with pytest.raises(InvalidOption) as caught:
        plan(JobOptions(("vit",), methods=("cam",)), registry)
    others = [method for method in METHODS if method not in FEATURE_METHODS]
    assert str(caught.value) == (
        f"methods: 'cam' cannot be computed (vit is not explained by {', '.join(FEATURE_METHODS)}: "
        f"no feature map was found near its end); allowed are {', '.join(others)}"
    )


def test_a_job_is_long_by_its_methods_or_by_the_proof_it_wants() -> None:
    for method in METHODS:
        assert is_long(JobOptions(("pets",), methods=("cam", method))) == (method in LONG_METHODS)
    assert is_long(JobOptions(("pets",), trust="full"))
