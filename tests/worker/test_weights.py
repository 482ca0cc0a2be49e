"""Weights files: what is refused before it is parsed, what is read, and what does not fit."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pytorchcv.models.wrn_cifar import wrn28_10_cifar10
from torch import Tensor, nn

from shared.cards.card import InputSpec, ModelCard, WeightsSpec
from shared.errors import ModelUnavailable
from shared.settings import REPOSITORY
from worker.engine import weights
from worker.engine.vision import resnet


class Touch:
    """An object whose pickle creates a file when it is read without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def small_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def card_of(path: Path, *, sha256: str, url: str | None = None) -> ModelCard:
    return ModelCard(
        name="small",
        title="Small",
        architecture="small_network",
        class_count=2,
        classes=("a", "b"),
        wnids=(),
        input=InputSpec(8, 8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        layer="0",
        weights=WeightsSpec(path.name, sha256, url),
        tree_supervised=False,
        folder=path.parent,
        weights_path=path,
    )


def card_for(path: Path) -> ModelCard:
    return card_of(path, sha256=weights.sha256_of(path))


def saved(path: Path, content: object, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(small_network().state_dict())


def test_the_hash_of_a_file_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert weights.sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip form", "form before torch 1.6"])
def test_a_torch_file_comes_back_as_it_was_saved(tmp_path: Path, state: dict[str, Tensor], zipped: bool) -> None:
    loaded = weights.load_state(card_for(saved(tmp_path / "w.pth", state, zipped=zipped)))
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_a_half_precision_safetensors_file_comes_back_in_full_precision(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    safetensors.torch.save_file(halves, tmp_path / "w.safetensors")
    loaded = weights.load_state(card_for(tmp_path / "w.safetensors"))
    assert {value.dtype for key, value in loaded.items() if "tracked" not in key} == {torch.float32}
    assert loaded["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(loaded["0.weight"], halves["0.weight"].float())


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
def test_wrappers_around_the_state_dict_are_taken_off(tmp_path: Path, state: dict[str, Tensor], prefix: str) -> None:
    wrapped = {"net": {prefix + key: value for key, value in state.items()}, "acc": 97.5, "epoch": 199}
    loaded = weights.load_state(card_for(saved(tmp_path / "w.pth", wrapped)))
    assert loaded.keys() == state.keys()


def test_a_prefix_that_only_some_keys_have_is_part_of_their_names(tmp_path: Path) -> None:
    mixed = {"model.weight": torch.ones(1), "fc.weight": torch.ones(1)}
    assert weights.load_state(card_for(saved(tmp_path / "w.pth", mixed))).keys() == mixed.keys()


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    shipped = card_of(tmp_path / "w.pth", sha256="0" * 64)
    with pytest.raises(ModelUnavailable, match=r"w\.pth is missing; run: git checkout models/small"):
        weights.load_state(shipped)
    fetched = card_of(tmp_path / "w.pth", sha256="0" * 64, url="https://example.org/w.pth")
    with pytest.raises(ModelUnavailable, match=r"w\.pth is missing; run: pathlight models fetch small"):
        weights.load_state(fetched)


@pytest.mark.parametrize("digits", [8, 64])
def test_the_stated_hash_may_be_whole_or_its_first_eight_digits(
    tmp_path: Path, state: dict[str, Tensor], digits: int
) -> None:
    path = saved(tmp_path / "w.pth", state)
    assert weights.load_state(card_of(path, sha256=weights.sha256_of(path)[:digits]))


@pytest.mark.parametrize("stated", ["0", "F37072FD", "f37072f", "f37072fd0", "not a hash"])
def test_a_hash_of_any_other_form_is_refused(tmp_path: Path, state: dict[str, Tensor], stated: str) -> None:
    with pytest.raises(ModelUnavailable, match="not 8 or 64 lower-case digits"):
        weights.load_state(card_of(saved(tmp_path / "w.pth", state), sha256=stated))


@pytest.mark.parametrize("digits", [8, 64])
def test_a_wrong_hash_is_refused_before_anything_is_parsed(
    tmp_path: Path, state: dict[str, Tensor], digits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Path] = []
    monkeypatch.setattr(weights, "read_state", parsed.append)
    path = saved(tmp_path / "w.pth", state)
    with pytest.raises(ModelUnavailable, match=rf"SHA-256 is {weights.sha256_of(path)}, expected was 0+; run: git"):
        weights.load_state(card_of(path, sha256="0" * digits))
    assert parsed == []


def test_a_fetched_file_must_be_the_one_that_was_recorded(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(tmp_path / "w.pth", state)
    card = card_of(path, sha256="", url="https://example.org/w.pth")
    with pytest.raises(ModelUnavailable, match="no SHA-256 is known for it; run: pathlight models fetch small"):
        weights.load_state(card)
    (tmp_path / "weights.json").write_text(json.dumps({"sha256": weights.sha256_of(path)}))
    assert weights.load_state(card)
    saved(path, {key: value + 1 for key, value in state.items()})
    with pytest.raises(ModelUnavailable, match="expected was"):
        weights.load_state(card)


def test_the_record_holds_even_where_upstream_states_a_prefix(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(tmp_path / "w.pth", state)
    digest = weights.sha256_of(path)
    (tmp_path / "weights.json").write_text(json.dumps({"sha256": digest[:8] + "0" * 56}))
    with pytest.raises(ModelUnavailable, match="expected was"):
        weights.load_state(card_of(path, sha256=digest[:8], url="https://example.org/w.pth"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 5}', '{"sha256": ""}', '{"sha256": "f3"}'])
def test_a_damaged_record_is_refused_and_never_taken_for_no_record(
    tmp_path: Path, state: dict[str, Tensor], text: str
) -> None:
    path = saved(tmp_path / "w.pth", state)
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(ModelUnavailable, match=r"weights\.json is not a readable record"):
        weights.load_state(card_of(path, sha256=weights.sha256_of(path), url="https://example.org/w.pth"))


def test_a_shipped_model_without_a_hash_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = saved(tmp_path / "w.pth", state)
    (tmp_path / "weights.json").write_text(json.dumps({"sha256": weights.sha256_of(path)}))
    with pytest.raises(ModelUnavailable, match="no SHA-256 is known"):
        weights.load_state(card_of(path, sha256=""))


@pytest.mark.parametrize("form", ["zip form", "form before torch 1.6", "bare pickle"])
def test_a_file_that_wants_to_run_code_is_refused_and_nothing_runs(tmp_path: Path, form: str) -> None:
    path, trap = tmp_path / "w.pth", tmp_path / "trap"
    if form == "bare pickle":
        path.write_bytes(pickle.dumps({"weight": Touch(trap)}))
    else:
        saved(path, {"weight": torch.ones(1), "more": Touch(trap)}, zipped=form == "zip form")
    with pytest.raises(ModelUnavailable, match=r"w\.pth is not a plain state dict and was not loaded"):
        weights.load_state(card_for(path))
    assert not trap.exists()


def test_the_trap_of_these_tests_does_run_code_when_it_is_read_without_care(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.load(saved(tmp_path / "w.pth", Touch(trap)), weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.ones(1),
        [torch.ones(1)],
        {},
        {"weight": 1.0},
        {1: torch.ones(1)},
        {"weight": torch.ones(1), "epoch": 199},
        {"net": {"weight": "text"}},
    ],
    ids=["tensor", "list", "empty", "number", "number as key", "tensor beside a number", "text"],
)
def test_anything_but_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(ModelUnavailable, match="is not a plain state dict"):
        weights.load_state(card_for(saved(tmp_path / "w.pth", content)))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>Please log in</html>", b"PK\x03\x04", b"\x80\x02}q\x00"])
def test_bytes_that_are_no_weights_file_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelUnavailable, match="is not a plain state dict"):
        weights.load_state(card_for(tmp_path / name))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip form", "form before torch 1.6"])
def test_a_file_cut_short_is_refused(tmp_path: Path, state: dict[str, Tensor], zipped: bool) -> None:
    path = saved(tmp_path / "w.pth", state, zipped=zipped)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelUnavailable, match="is not a plain state dict"):
        weights.load_state(card_for(path))


def test_a_file_with_another_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match=r"w\.bin is none of \.safetensors, \.pth, \.pt"):
        weights.load_state(card_for(tmp_path / "w.bin"))


def test_fitting_weights_arrive_in_the_network(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.manual_seed(1)
    network = small_network()
    weights.load_weights(network, card_for(saved(tmp_path / "w.pth", state)))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_weights_that_do_not_fit_are_refused_by_name_and_change_nothing(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    state["3.weight"] = torch.zeros(5, 4)
    state["4.weight"] = state.pop("3.bias")
    network = small_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(
        ModelUnavailable,
        match=r"w\.pth does not fit small_network with 2 classes: "
        r"3\.bias is missing, 4\.weight is unknown, 3\.weight is 5 x 4 instead of 2 x 4$",
    ):
        weights.load_weights(network, card_for(saved(tmp_path / "w.pth", state)))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_only_the_first_few_misfits_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"0\.bias is missing, 0\.weight is missing, .* and 6 more$"):
        weights.load_weights(small_network(), card_for(saved(tmp_path / "w.pth", {"other": torch.ones(1)})))


def test_weights_from_before_batch_counters_load(tmp_path: Path, state: dict[str, Tensor]) -> None:
    del state["1.num_batches_tracked"]
    network = small_network()
    weights.load_weights(network, card_for(saved(tmp_path / "w.pth", state)))
    assert torch.equal(network.state_dict()["0.weight"], state["0.weight"])


def numbered(network: nn.Module) -> dict[str, Tensor]:
    """A state dict of the network's shapes in which the n-th tensor is filled with n; a few kilobytes on disk."""
    state = network.state_dict()
    return {
        key: torch.tensor(number, dtype=torch.half if value.is_floating_point() else value.dtype).expand(value.shape)
        for number, (key, value) in enumerate(state.items())
    }


def test_nbdts_checkpoint_loads_into_pytorchcvs_network(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = wrn28_10_cifar10()
    state = numbered(network)
    checkpoint = {"net": {f"module.model.{key}": value for key, value in state.items()}, "acc": 97.57, "epoch": 199}
    path = saved(tmp_path / "w.pth", checkpoint, zipped=False)
    network = network.to_empty(device="cpu")
    weights.load_weights(network, card_for(path))
    assert all(bool((value == number).all()) for number, value in enumerate(network.state_dict().values()))


@pytest.fixture
def registry(tmp_path: Path) -> dict[str, ModelCard]:
    names = ("resnet18-imagenet", "wrn28-10-cifar10")
    return {name: ModelCard.load(REPOSITORY / "models" / name / "card.json", cache=tmp_path) for name in names}


def test_the_upstream_cards_wait_for_their_fetch(registry: dict[str, ModelCard], tmp_path: Path) -> None:
    for name, card in registry.items():
        assert card.name == name
        assert card.weights_path == tmp_path / name / card.weights.file
        assert card.weights.url is not None and card.weights.url.endswith("/" + card.weights.file)
        assert card.remedy == f"pathlight models fetch {name}"
        weights.hash_pins(card, card.weights_path.parent)


def test_the_resnet_card_says_what_torchvision_says(registry: dict[str, ModelCard]) -> None:
    card, upstream = registry["resnet18-imagenet"], resnet.ResNet18_Weights.IMAGENET1K_V1
    transform = upstream.transforms()
    assert card.weights.url == upstream.url
    assert f"resnet18-{card.weights.sha256}.pth" == card.weights.file
    assert card.class_count == len(upstream.meta["categories"])
    assert [card.input.resize] == transform.resize_size
    assert [card.input.crop] == transform.crop_size
    assert (card.input.mean, card.input.std) == (tuple(transform.mean), tuple(transform.std))
    assert card.facts["parameters"] == upstream.meta["num_params"]
    published = upstream.meta["_metrics"]["ImageNet-1K"]
    assert card.facts["accuracy"]["top1_percent"] == published["acc@1"]
    assert card.facts["accuracy"]["top5_percent"] == published["acc@5"]


def test_the_tree_card_holds_nbdts_hierarchy_over_its_classes(registry: dict[str, ModelCard]) -> None:
    card = registry["wrn28-10-cifar10"]
    tree = card.hierarchy
    assert tree is not None and tree.class_count == card.class_count == len(card.classes) == len(card.wnids)
    assert [tree.by_id[wnid].leaf for wnid in card.wnids] == list(range(card.class_count))
    names = [tree.by_id[node].name for node in tree.path_to(card.classes.index("cat"))]
    assert names == ["animal", "chordate", "carnivore", "cat"]


def test_the_tree_cards_address_is_the_one_in_nbdts_own_source(registry: dict[str, ModelCard]) -> None:
    from importlib.resources import files

    url = registry["wrn28-10-cifar10"].weights.url
    assert f"('wrn28_10_cifar10', 'CIFAR10'): '{url}'" in files("nbdt").joinpath("model.py").read_text("utf-8")


def test_a_card_without_a_hash_pins_nothing_until_a_fetch_has_been_recorded(
    registry: dict[str, ModelCard], tmp_path: Path
) -> None:
    card = replace(registry["wrn28-10-cifar10"], weights_path=tmp_path / "w.pth")
    assert weights.hash_pins(card, tmp_path) == ()
    (tmp_path / "weights.json").write_text(json.dumps({"sha256": "a" * 64}))
    assert weights.hash_pins(card, tmp_path) == ("a" * 64,)
