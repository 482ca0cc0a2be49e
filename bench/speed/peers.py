"""What people use today, on the same network, the same photographs and the same overlay: one picture at a time, as
their documentation shows it, against a batch of ours."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from bench.figures import Figure
from bench.quality.context import Sizes
from bench.speed.engine import STYLE, decoded, laid_over
from bench.speed.race import Race, Runner, race
from bench.speed.subjects import files, model, precision, registry
from shared.drawing.maps import jpeg_bytes, overlay
from shared.images.decode import Photo
from shared.images.seeing import crop_box
from worker.engine.architectures import build
from worker.engine.inputs import to_tensor, to_tensors
from worker.engine.models import Model
from worker.engine.threads import side_by_side
from worker.explain.explanations import Explained, explain, tree_mode
from worker.explain.forward import Question

Script = Callable[[nn.Module, Tensor], NDArray[np.float32]]  # network and 1 x 3 x S x S -> h x w

CLASSIFIER, TREE_MODEL = "resnet18-imagenet", "wrn28-10-cifar10"
CLASSIFIER_TARGETS = {
    "the tutorial": ">= 4",
    "the tutorial, which loads its network for each picture": None,
    "torch-cam CAM": ">= 2.5",
    "pytorch-grad-cam GradCAM": ">= 5",
    "captum LayerGradCam": ">= 5",
}
TREE_TARGETS = {"nbdt Hard": ">= 3", "nbdt Soft": ">= 3.5"}


def peers(n: Sizes) -> list[Figure]:
    """The classifier's maps and the tree's decisions beside everyone else's."""
    return [*_maps(n), *_trees(n)]


def _maps(n: Sizes) -> list[Figure]:
    subject, given = model(CLASSIFIER, precision=precision()), files(n["pictures"])
    network = _plain(CLASSIFIER)
    scripts = {
        "the tutorial": _tutorial,
        "the tutorial, which loads its network for each picture": _tutorial_as_published(network),
        "torch-cam CAM": _torchcam(network),
        "pytorch-grad-cam GradCAM": _gradcam(network),
        "captum LayerGradCam": _captum(network),
    }
    photos, explanations = _explained(subject, given)
    inputs = to_tensors(photos, subject.card.input)
    runners: dict[str, Runner] = {
        "pathlight": lambda: _ours(subject, given),
        "decode": lambda: to_tensors(decoded(given), subject.card.input),
        "forward": lambda: subject.features(inputs),
        "draw": lambda: _all_drawn(subject, photos, explanations),
    }
    runners |= {name: partial(_scripted, subject, network, given, script) for name, script in scripts.items()}
    found = race(runners, rounds=n["rounds"], images=len(given), title="maps beside the peers'")
    return [
        found.speed(
            "pathlight",
            beside=name,
            figure=f"peers: whole job in {subject.precision} beside {name}, {CLASSIFIER}",
            target=target,
            meaning="From a photograph's file to its overlay as JPEG; ours in batches, with certificate and tree.",
        ).explained(_limits(found, name, {"forward": "the forward pass", "decode": "decoding", "draw": "drawing"}))
        for name, target in CLASSIFIER_TARGETS.items()
    ]


def _limits(found: Race, peer: str, parts: dict[str, str]) -> str:
    """How much faster than the peer it could be, if nothing were done but these parts of the race."""
    alone = ", ".join(f"{name} takes {found.ms(part):.2f}" for part, name in parts.items())
    return (
        f"Of our {found.ms('pathlight'):.1f} ms an image, each alone, {alone}. With nothing else it would be "
        f"{found.ms(peer) / sum(map(found.ms, parts)):.2f} times, and with nothing but the forward pass "
        f"{found.ms(peer) / found.ms('forward'):.2f} times as fast."
    )


def _trees(n: Sizes) -> list[Figure]:
    subject, given = model(TREE_MODEL, precision=precision()), files(n["pictures"])
    network = _plain(TREE_MODEL)
    inputs = to_tensors(decoded(given), subject.card.input)
    hard, soft = _nbdt_rules()
    found = race(
        {
            "pathlight": lambda: _explained(subject, given),
            "decode": lambda: to_tensors(decoded(given), subject.card.input),
            "forward": lambda: subject.features(inputs),
            "nbdt Hard": lambda: _walked(subject, network, given, hard),
            "nbdt Soft": lambda: _walked(subject, network, given, soft),
        },
        rounds=n["rounds"],
        images=len(given),
        title="trees beside nbdt's",
    )
    return [
        found.speed(
            "pathlight",
            beside=name,
            figure=f"peers: path in {subject.precision} beside {name}, {TREE_MODEL}",
            target=target,
            meaning="From a photograph's file to prediction and decisions; ours in batches, with all maps.",
        ).explained(_limits(found, name, {"forward": "the forward pass", "decode": "decoding"}))
        for name, target in TREE_TARGETS.items()
    ]


def _ours(subject: Model, given: list[bytes]) -> None:
    _all_drawn(subject, *_explained(subject, given))


def _all_drawn(subject: Model, photos: list[Photo], explanations: list[Explained]) -> None:
    pairs = list(zip(photos, explanations, strict=True))
    threads = torch.get_num_threads()
    side_by_side(lambda one: jpeg_bytes(laid_over(*one, subject)), pairs, threads=threads)


def _explained(subject: Model, given: list[bytes]) -> tuple[list[Photo], list[Explained]]:
    photos = decoded(given)
    question = Question(tree=tree_mode(subject.card, "auto"))
    return photos, explain(subject, photos, [question] * len(given))


def _plain(name: str) -> nn.Module:
    """The same architecture as a script holds it: a plain module in evaluation mode, as it comes."""
    card = registry().get(name)
    torch.manual_seed(0)
    return build(card.architecture, card.class_count).eval()


def _scripted(subject: Model, network: nn.Module, given: list[bytes], script: Script) -> None:
    """A peer's whole job for each file: decode, explain, lay the map over the picture, encode."""
    for file in given:
        picture = Image.open(io.BytesIO(file)).convert("RGB")
        raw = script(network, to_tensor(picture, subject.card.input)[None])
        _jpeg(overlay(picture, raw, crop_box(*picture.size, subject.card.input), style=STYLE))


def _tutorial(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """The tutorial's body: the last convolution's answer, weighed by the head's row of the prediction, transposed."""
    kept: list[Tensor] = []
    handle = network.get_submodule("layer4.1.conv2").register_forward_hook(lambda module, given, out: kept.append(out))
    logits = network(x)
    handle.remove()
    head = network.get_submodule("fc")
    assert isinstance(head, nn.Linear)
    raw = (head.weight[logits.argmax(1)] @ kept[0].flatten(2)[0]).reshape(kept[0].shape[2:])
    tutorial: NDArray[np.float32] = raw.T.detach().numpy()
    return tutorial


def _tutorial_as_published(network: nn.Module) -> Script:
    """The same with all that the script does for a picture: it makes its network, and reads the weights from a file."""
    card, weights = registry().get(CLASSIFIER), io.BytesIO()
    torch.save(network.state_dict(), weights)

    def script(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
        weights.seek(0)
        fresh = build(card.architecture, card.class_count)
        fresh.load_state_dict(torch.load(weights))
        return _tutorial(fresh.eval(), x)

    return script


def _torchcam(network: nn.Module) -> Script:
    from torchcam.methods import CAM

    def script(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
        with CAM(network, "layer4", "fc") as method:
            logits = network(x)
            return method(int(logits.argmax(1)), logits)[0][0].numpy()

    return script


def _gradcam(network: nn.Module) -> Script:
    from pytorch_grad_cam import GradCAM

    method = GradCAM(network, [network.get_submodule("layer4.1")])
    return lambda network, x: method(x, None)[0]


def _captum(network: nn.Module) -> Script:
    from captum.attr import LayerGradCam

    method = LayerGradCam(network, network.get_submodule("layer4"))

    def script(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
        attribution: Tensor = method.attribute(x, target=int(network(x).argmax(1)))
        raw: NDArray[np.float32] = attribution[0, 0].detach().numpy()
        return raw

    return script


def _nbdt_rules() -> tuple[Callable[[Tensor], object], Callable[[Tensor], object]]:
    """nbdt's hard and soft rules over its CIFAR-10 tree, with the decisions they report."""
    from bench.quality.nbdt_oracle import TREES

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nbdt.analysis import HardEmbeddedDecisionRules, SoftEmbeddedDecisionRules
        from nbdt.data.custom import dataset_to_dummy_classes
        from nbdt.utils import dataset_to_default_path_wnids, hierarchy_to_path_graph

        arguments = (
            "CIFAR10",
            hierarchy_to_path_graph("CIFAR10", TREES["CIFAR10"]),
            dataset_to_default_path_wnids("CIFAR10"),
            dataset_to_dummy_classes("CIFAR10"),
        )
        hard, soft = HardEmbeddedDecisionRules(*arguments), SoftEmbeddedDecisionRules(*arguments)
    return hard.forward_with_decisions, soft.forward_with_decisions


@torch.no_grad()
def _walked(subject: Model, network: nn.Module, given: list[bytes], rules: Callable[[Tensor], object]) -> None:
    for file in given:
        picture = Image.open(io.BytesIO(file)).convert("RGB")
        rules(network(to_tensor(picture, subject.card.input)[None]))


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
