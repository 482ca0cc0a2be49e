"""models.toml: what is declared comes back, what is wrong is named, and what a person wrote stays."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cards.card import Registry
from shared.cards.declarations import Declaration, declarations, declare, withdraw
from shared.errors import InvalidSetting, ModelUnavailable
from shared.settings import Settings
from tests.shared.cards import write_card

ENTRY: dict[str, Any] = {"architecture": "timm/resnet10t", "weights": "w.pth"}
TEXT = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() and bool(text.strip()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.toml"


@given(
    name=st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20),
    entry=st.fixed_dictionaries(
        {"architecture": TEXT, "weights": TEXT},
        optional={
            "classes": st.lists(TEXT, min_size=2, max_size=4),
            "title": TEXT,
            "size": st.integers(8, 2048),
            "mean": st.lists(st.floats(-10, 10), min_size=3, max_size=3),
            "tree_supervised": st.booleans(),
        },
    ),
)
def test_what_is_declared_comes_back_and_goes_again(
    name: str, entry: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("home") / "models.toml"
    declare(path, Declaration("other", ENTRY, path.parent))
    before = path.read_text("utf-8")
    declare(path, Declaration(f"m{name}", entry, path.parent))
    assert declarations(path)[f"m{name}"].entry == entry
    withdraw(path, f"m{name}")
    assert path.read_text("utf-8") == before


def test_comments_and_the_order_of_others_stay_when_an_entry_is_replaced(path: Path) -> None:
    path.write_text(
        '# ours\n[a]\narchitecture = "x/y"\nweights = "a.pth"\n\n[b] # the old one\narchitecture = "x/y"\n'
        'weights = "b.pth"\nclasses = [\n  "[c]",\n  "d",\n]\n\n# last\n[c]\narchitecture = "x/y"\nweights = "c.pth"\n',
        "utf-8",
    )
    declare(path, Declaration("b", ENTRY, path.parent))
    assert list(declarations(path)) == ["a", "c", "b"]
    assert declarations(path)["b"].entry == ENTRY
    assert path.read_text("utf-8").startswith("# ours\n[a]\n")


def test_an_entry_that_is_no_plain_table_is_left_to_its_writer(path: Path) -> None:
    path.write_text('b = { architecture = "x/y", weights = "w.pth" }\n', "utf-8")
    with pytest.raises(InvalidSetting, match="the entry of b in .* is not a plain table; take it out by hand"):
        withdraw(path, "b")
    assert list(declarations(path)) == ["b"]


def test_paths_start_at_the_file_and_defaults_are_the_librarys(path: Path) -> None:
    path.write_text('[pets]\narchitecture = "timm/resnet10t"\nweights = "w.pth"\nclasses = "names.txt"\n', "utf-8")
    found = declarations(path)["pets"]
    assert (found.weights, found.classes) == (path.parent / "w.pth", path.parent / "names.txt")
    assert (found.title, found.hierarchy, found.input, found.tree_supervised) == ("timm/resnet10t", None, {}, False)


@pytest.mark.parametrize("name", ["../up", "a/b", "a.b", "", ".", "Big", "a b", "-a", "a" * 65, "a\n", "ä", "a\0"])
def test_a_name_that_could_be_a_path_is_refused(name: str, path: Path) -> None:
    with pytest.raises(InvalidSetting, match="cannot name a model"):
        Declaration(name, ENTRY, path.parent)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weight": "w"}, "has an unknown key 'weight'; known are architecture, weights"),
        ({"size": 4}, "size of pets is 4, it must be a whole number of pixels from 8 to 2048"),
        ({"size": True}, "size of pets is True"),
        ({"std": [1, 0, 1]}, "std of pets is .* it must be a list of three numbers above zero"),
        ({"mean": [float("nan"), 0, 0]}, "mean of pets is"),
        ({"classes": ["one"]}, "it must be the path of a file or a list of at least two names"),
        ({"classes": ["one", "two\x00"]}, "classes of pets"),
        ({"interpolation": "cubic"}, "it must be one of bilinear, bicubic"),
        ({"tree_supervised": "yes"}, "it must be true or false"),
        ({"title": "two\nlines"}, "it must be a text on one line"),
        ({"weights": ""}, "weights of pets"),
    ],
)
def test_a_bad_value_is_named_with_what_is_wanted(change: dict[str, Any], sentence: str, path: Path) -> None:
    with pytest.raises(InvalidSetting, match=sentence):
        Declaration("pets", ENTRY | change, path.parent)


@pytest.mark.parametrize("text", ["[pets", "pets = 1", "[pets]\n", '[pets]\narchitecture = "a/b"\n'])
def test_a_file_that_is_not_as_it_should_be_is_refused_as_a_setting(text: str, path: Path) -> None:
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidSetting, match=r"models\.toml"):
        declarations(path)


def test_a_model_counts_while_its_card_is_of_its_entry_as_it_stands(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    declare(settings.own_models, Declaration("pets", ENTRY, tmp_path))
    assert Registry.load(settings).unchecked == {"pets": "it was not checked yet"}
    write_card(settings.registry, name="pets", declared=ENTRY)
    assert "pets" in Registry.load(settings).cards
    declare(settings.own_models, Declaration("pets", ENTRY | {"size": 64}, tmp_path))
    changed = Registry.load(settings)
    assert "pets" not in changed.cards
    with pytest.raises(ModelUnavailable, match="its entry in models.toml has changed since; run: pathlight models add"):
        changed.get("pets")
    withdraw(settings.own_models, "pets")
    gone = Registry.load(settings)
    assert "pets" not in gone.cards and not gone.unchecked


def test_the_file_may_lie_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "etc" / "ours.toml"
    declare(elsewhere, Declaration("pets", ENTRY, elsewhere.parent))
    settings = Settings.load({"PATHLIGHT_HOME": str(tmp_path), "PATHLIGHT_MODELS_FILE": str(elsewhere)})
    assert list(Registry.load(settings).unchecked) == ["pets"]
