"""Models of one's own: hostile and unfit files are refused in one sentence, and leave nothing behind."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cli.tree import _put_version
from shared.cards.card import InputSpec, ModelCard, Registry
from shared.cards.declarations import Declaration, declarations
from shared.cards.hierarchy import Hierarchy
from shared.errors import InvalidHierarchy, InvalidOption, ModelUnavailable
from shared.settings import Settings
from shared.store.retired import sweep
from tests.worker.test_weights import Touch
from worker.algebra import maps
from worker.engine.admission import MOST_CLASSES, admit, check_tree, dismiss, input_spec
from worker.engine.architectures import LIBRARIES, build
from worker.engine.models import Model

TINY = "timm/test_resnet"
NAMES = ["cat", "dog", "owl"]
TREE = {
    "nodes": [
        {"id": "r", "name": "pet", "children": ["m", "o"]},
        {"id": "m", "name": "mammal", "children": ["c", "d"]},
        *({"id": name[0], "name": name, "class": index} for index, name in enumerate(NAMES)),
    ]
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(build(TINY, len(NAMES)).state_dict())


@pytest.fixture
def weights(tmp_path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


@pytest.fixture
def add(settings: Settings, weights: Path, tmp_path: Path) -> Callable[..., ModelCard]:
    def take_on(name: str = "pets", *, known: dict[str, Any] | None = None, **changes: Any) -> ModelCard:
        entry = {"architecture": TINY, "weights": str(weights), "classes": NAMES, "size": 64} | changes
        return admit(Declaration(name, entry, tmp_path), settings, say=lambda what: None, known=known)

    return take_on


def left_in(settings: Settings) -> list[str]:
    return sorted(str(path.relative_to(settings.home)) for path in settings.home.rglob("*") if path.is_file())


def test_a_model_gets_a_card_with_what_was_measured_and_is_loaded_like_any_other(
    add: Callable[..., ModelCard], settings: Settings, state: dict[str, Tensor]
) -> None:
    card = add()
    assert (card.head, card.layer, card.classes, card.limit) == ("pooled-linear", "layer4", tuple(NAMES), None)
    assert card.input == InputSpec(67, 64, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
    assert 0 <= card.facts["certificate"]["residual"] <= 1e-5
    assert card.facts["milliseconds_per_picture"] > 0 and card.facts["library"].startswith("timm ")
    model = Model.load(Registry.load(settings).ready("pets"))
    assert torch.equal(model.weight, state["fc.weight"])
    version = card.folder.relative_to(settings.home)
    assert {path for path in left_in(settings) if not path.startswith(("registry/.lock", "registry/pets/entry-"))} == {
        "models.toml", f"{version}/card.json", f"{version}/weights.safetensors"
    }  # fmt: skip


def test_a_checked_file_that_was_changed_afterwards_is_not_loaded(
    add: Callable[..., ModelCard], settings: Settings
) -> None:
    path = add().weights_path
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(ModelUnavailable, match=r"was not loaded: its SHA-256 is .* run: pathlight models add pets"):
        Model.load(Registry.load(settings).ready("pets"))


def test_a_card_keeps_its_accuracies_at_another_check_while_they_are_those_of_the_model(
    add: Callable[..., ModelCard], tmp_path: Path, state: dict[str, Tensor]
) -> None:
    (tmp_path / "tree.json").write_text(json.dumps(TREE), "utf-8")
    entry = {"weights": "same.pth", "hierarchy": "tree.json"}
    torch.save(state, tmp_path / "same.pth")
    accuracy = {"network": 90.0}
    card = add(known={"accuracy": accuracy}, **entry)
    assert add(**entry).facts["accuracy"] == accuracy
    (tmp_path / "tree.json").write_text(json.dumps(TREE).replace("mammal", "beast"), "utf-8")
    changed = add(**entry)
    assert "accuracy" not in changed.facts, "it was measured on another tree"
    path = changed.weights_path.parent / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"facts": card.facts}), "utf-8")
    torch.save(state | {"fc.bias": state["fc.bias"] + 1}, tmp_path / "same.pth")
    assert "accuracy" not in add(**entry).facts, "it was measured with other weights"


def test_a_network_without_a_linear_head_says_so_in_its_card(add: Callable[..., ModelCard], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build("timm/test_vit", len(NAMES)).state_dict(), tmp_path / "vit.pt")
    (tmp_path / "tree.json").write_text(json.dumps(TREE), "utf-8")
    card = add("vit", architecture="timm/test_vit", weights="vit.pt", size=160, hierarchy="tree.json")
    assert (card.head, card.layer, card.facts["certificate"]) == ("none", "input", None)
    assert card.methods == ("integrated-gradients", "occlusion", "rise")
    assert card.limit is not None and card.limit.endswith("no feature map was found near its end")
    assert card.hierarchy is not None and Model.load(card).linear is None


def test_removing_takes_the_entry_away_and_leaves_the_files_to_a_sweep_but_never_a_model_that_ships(
    add: Callable[..., ModelCard], settings: Settings, weights: Path
) -> None:
    add()
    dismiss("pets", settings)
    assert settings.own_models.read_text("utf-8") == "" and "pets" not in Registry.load(settings).cards
    sweep(settings, set, older_than=-1)
    assert left_in(settings) == ["models.toml", "registry/.lock"]
    assert weights.exists()
    for name in ("pets", "nbdt-cifar10", "../x"):
        with pytest.raises(InvalidOption, match="models that ship cannot be removed"):
            dismiss(name, settings)
    with pytest.raises(InvalidOption, match="nbdt-cifar10 is the name of a model that ships"):
        add("nbdt-cifar10")


def test_a_pickle_that_runs_code_is_refused_and_the_code_does_not_run(
    add: Callable[..., ModelCard], settings: Settings, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    trap = tmp_path / "trapped"
    torch.save({**state, "fc.bias": Touch(trap)}, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Touch(trap)))
    for name in ("zip.pth", "raw.pth"):
        with pytest.raises(ModelUnavailable, match="is not a plain state dict and was not loaded"):
            add(weights=name)
    assert not trap.exists()
    assert not settings.home.exists() or left_in(settings) == []


def test_files_that_cannot_be_weights_are_refused_in_one_sentence(
    add: Callable[..., ModelCard], settings: Settings, tmp_path: Path, weights: Path, state: dict[str, Tensor]
) -> None:
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    save_file(state, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-100])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello", "utf-8")
    torch.save(state | {"conv1.0.weight": torch.zeros(1, 3, 3, 3)}, tmp_path / "shape.pth")
    torch.save({"other.weight": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save(state | {"fc.bias": torch.full((3,), torch.nan)}, tmp_path / "nan.pth")
    for name, sentence in {
        "cut.pth": "cut.pth is not a plain state dict",
        "cut.safetensors": "cut.safetensors is not a plain state dict",
        "empty.pth": "empty.pth is not a plain state dict",
        "text.txt": "text.txt is none of .safetensors, .pth, .pt",
        "absent.pth": "absent.pth cannot be read: No such file or directory",
        ".": "cannot be read: Is a directory",
        "shape.pth": "conv1.0.weight is 1 x 3 x 3 x 3 instead of",
        "other.pth": "is it of another architecture?",
        "nan.pth": "gives scores that are not finite; its weights are damaged",
    }.items():
        with pytest.raises(ModelUnavailable) as caught:
            add(weights=name)
        assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert not settings.home.exists() or left_in(settings) == []


def test_another_number_of_classes_is_named(add: Callable[..., ModelCard], tmp_path: Path) -> None:
    (tmp_path / "imagenet.json").write_text(json.dumps([str(k) for k in range(1000)]), "utf-8")
    with pytest.raises(ModelUnavailable, match=r"with 2 classes: it has 3; give as many class names"):
        add(classes=["cat", "dog"])
    with pytest.raises(ModelUnavailable, match=r"with 1000 classes: it has 3"):
        add(classes="imagenet.json")


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("torchvision/resnet19", r"torchvision has no 'resnet19'; did you mean .*resnet18"),
        ("os/system", r"'os' is no library, where LIBRARY is one of torchvision, timm, pytorchcv"),
        ("torchvision.models/resnet18", "is no library"),
        ("resnet19", "name it as LIBRARY/NAME"),
        ("timm/hf-hub:somebody/model", "'timm/hf-hub:somebody' is no library"),
        ("timm/hf-hub:somebody", "timm has no 'hf-hub:somebody'"),
        ("timm/local-dir:here", "timm has no"),
        ("torchvision/__init__", "torchvision has no"),
        ("pytorchcv/../../etc/passwd", "is no library"),
    ],
)
def test_an_architecture_is_one_of_a_librarys_own_list_or_none(
    architecture: str, sentence: str, add: Callable[..., ModelCard]
) -> None:
    with pytest.raises(ModelUnavailable, match=sentence):
        add(architecture=architecture)


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_names_many_architectures(library: str) -> None:
    assert len(set(LIBRARIES[library].names())) > 70


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("one.txt", "cat\n\n", "one.txt lists 1 class names; a classifier has at least two"),
        ("bad.json", "{", "are neither one a line nor a JSON list"),
        ("map.json", "{}", "map.json is no list of class names"),
        ("kinds.json", '["cat", 1]', "holds '1', which is no class name"),
        ("control.txt", "cat\ndo\x07g", "which is no class name"),
        ("long.txt", "cat\n" + "x" * 500, "which is no class name"),
        ("many.txt", "a\n" * (MOST_CLASSES + 1), f"lists {MOST_CLASSES + 1} class names; at most {MOST_CLASSES}"),
        ("many.json", "[" + "{}," * 300_000 + "{}]", "more than 262144 values"),
        ("deep.json", "[" * 100_000, "depth limit exceeded"),
    ],
)
def test_a_list_of_names_that_is_none_is_refused(
    name: str, text: str, sentence: str, add: Callable[..., ModelCard], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(ModelUnavailable, match=sentence):
        add(classes=name)


def test_a_tree_over_other_classes_is_refused(add: Callable[..., ModelCard], tmp_path: Path) -> None:
    (tmp_path / "tree.json").write_text(json.dumps(TREE | {"nodes": TREE["nodes"][1:4]}), "utf-8")
    with pytest.raises(InvalidHierarchy, match="tree.json is a tree over 2 classes, not over the 3 of pets"):
        add(hierarchy="tree.json")


def test_a_tree_that_takes_far_more_memory_than_its_model_is_refused(tmp_path: Path) -> None:
    leaves = [{"id": str(place), "class": place} for place in range(6000)]
    path = tmp_path / "tree.json"
    path.write_text(json.dumps({"nodes": [{"id": "root", "children": [one["id"] for one in leaves]}, *leaves]}))
    tree = Hierarchy.load(path)
    with pytest.raises(InvalidHierarchy, match=r"takes 612,228,000 bytes .* at most 536,870,912 .* fewer nodes"):
        check_tree(tree, path)
    check_tree(tree, path, weights_bytes=10_000_000)


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ({}, (256, 224, 224, "bilinear")),
        ({"size": 112}, (128, 112, 112, "bilinear")),
        ({"crop": 64, "resize": 64, "size": 112}, (64, 64, 112, "bilinear")),
        ({"interpolation": "bicubic", "resize": 224}, (224, 224, 224, "bicubic")),
    ],
)
def test_the_input_is_the_librarys_less_what_is_said_otherwise(
    given: dict[str, Any], spec: tuple[Any, ...], tmp_path: Path
) -> None:
    entry = {"architecture": "torchvision/squeezenet1_1", "weights": "w.pth"} | given
    network = build(entry["architecture"], 3)
    found = input_spec(Declaration("pets", entry, tmp_path), network)
    assert (found.resize, found.crop, found.size, found.interpolation) == spec
    assert found.mean == (0.485, 0.456, 0.406)


def test_an_architecture_that_does_not_take_the_number_of_classes_is_refused(add: Callable[..., ModelCard]) -> None:
    with pytest.raises(ModelUnavailable, match="resnet20_cifar10 cannot be built for 3 classes: it does not take that"):
        add(architecture="pytorchcv/resnet20_cifar10")


def test_a_crop_larger_than_the_picture_is_refused(add: Callable[..., ModelCard]) -> None:
    with pytest.raises(ModelUnavailable, match="crop is 64 pixels of a picture resized to 32"):
        add(resize=32, crop=64)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"mean": [123.675, 116.28, 103.53]},
            r"mean is 123.675 116.28 103.53; it must lie in 0 to 1, .* by 255",
        ),
        ({"mean": [-0.1, 0.5, 0.5]}, "mean is -0.1 0.5 0.5; it must lie in 0 to 1"),
        ({"std": [58.395, 57.12, 57.375]}, "std is 58.395 57.12 57.375; it must lie in 0.001 to 1"),
    ],
)
def test_colours_lie_between_0_and_1(given: dict[str, Any], sentence: str, add: Callable[..., ModelCard]) -> None:
    with pytest.raises(ModelUnavailable, match=sentence):
        add(**given)


def test_files_that_begin_with_a_byte_order_mark_are_read(add: Callable[..., ModelCard], tmp_path: Path) -> None:
    mark = "\ufeff"
    (tmp_path / "names.txt").write_text(mark + "\n".join(NAMES), "utf-8")
    (tmp_path / "tree.json").write_text(mark + json.dumps(TREE), "utf-8")
    card = add(classes="names.txt", hierarchy="tree.json")
    assert card.classes == tuple(NAMES) and card.hierarchy is not None
    (tmp_path / "models.toml").write_text(f'{mark}[pets]\narchitecture = "{TINY}"\nweights = "w.pth"\n', "utf-8")
    assert declarations(tmp_path / "models.toml")["pets"].architecture == TINY


def test_two_classes_of_one_name_are_refused_and_names_with_commas_are_kept(add: Callable[..., ModelCard]) -> None:
    first, *others = NAMES
    with pytest.raises(ModelUnavailable, match=f"the class names '{first}' \\(0\\) and '{first}' \\(1\\) are the same"):
        add(classes=[first, first, *others[1:]])
    cats = ["cat, black", "cat, white", *others[1:]]
    card = add(classes=cats)
    assert card.class_index("cat, white") == 1 and card.class_index("cat") is None


def test_a_tree_that_was_built_for_a_model_stays_when_it_is_checked_again(
    add: Callable[..., ModelCard], settings: Settings
) -> None:
    card = add()
    assert card.hierarchy is None
    _put_version(Hierarchy.from_dict(TREE), card, settings)
    again = add()
    assert again.hierarchy is not None and again.hierarchy.decisions
    assert add(classes=[*NAMES[1:], "another"]).hierarchy is None, "it is over other classes"


def test_a_healthy_network_whose_logits_are_small_is_exact(add: Callable[..., ModelCard], tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build("torchvision/resnet50", 1000).state_dict(), tmp_path / "random.pth")
    names = [f"class {k}" for k in range(1000)]
    card = add("random", architecture="torchvision/resnet50", weights="random.pth", classes=names, size=128)
    certificate = card.facts["certificate"]
    assert certificate["residual"] > certificate["tolerance"], "relative to the logit alone it would not be"
    assert certificate["exact"] and certificate["backward_error"] <= maps.BACKWARD_ERROR
