"""The architectures that a model card may name: the project's own, and LIBRARY/NAME for those of other libraries.

A name counts only where it stands in the library's own list of classifiers, so nothing is imported or fetched by a
user's text. What a library states of a network's input comes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from torch import nn

from shared.cards.card import InputSpec
from shared.distribution import install
from shared.errors import ModelUnavailable
from worker.engine.networks import NETWORKS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
USUAL_CROP = 0.875  # of the shorter side, where a library says nothing of it


@dataclass(frozen=True)
class Library:
    """Another project's classifiers: their names, how one is built, and what its input must look like."""

    names: Callable[[], Sequence[str]]
    build: Callable[[str, int], nn.Module]  # name and class count, random weights
    input: Callable[[str, nn.Module], InputSpec]


def build(architecture: str, class_count: int) -> nn.Module:
    """A network with random weights. Raises ModelUnavailable where the architecture is unknown or cannot be built."""
    library, name = _found(architecture)
    if library is None:
        return NETWORKS[name](class_count)
    try:
        return library.build(name, class_count)
    except Exception as error:  # of the library's own making
        reason = str(error) or "it does not take that number"
        raise ModelUnavailable(f"{architecture} cannot be built for {class_count} classes: {reason}") from error


def input_of(architecture: str, network: nn.Module) -> InputSpec | None:
    """What the library states of a network's input; None for the project's own networks."""
    library, name = _found(architecture)
    return None if library is None else library.input(name, network)


def _found(architecture: str) -> tuple[Library | None, str]:
    """The library of an architecture and its name there; no library for the project's own."""
    prefix, _, name = architecture.rpartition("/")
    if not prefix:
        if name not in NETWORKS:
            raise ModelUnavailable(f"unknown architecture {name!r}: name it as LIBRARY/NAME, {_libraries()}")
        return None, name
    if prefix not in LIBRARIES:
        raise ModelUnavailable(f"unknown architecture {architecture!r}: {prefix!r} is no library, {_libraries()}")
    if find_spec(prefix) is None:
        raise ModelUnavailable(f"{architecture} needs {prefix}; run: {install(prefix)}")
    names = LIBRARIES[prefix].names()
    if name not in names:
        near = get_close_matches(name, names, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"its documentation lists the {len(names)} it has"
        raise ModelUnavailable(f"unknown architecture {architecture!r}: {prefix} has no {name!r}; {hint}")
    return LIBRARIES[prefix], name


def _libraries() -> str:
    return f"where LIBRARY is one of {', '.join(LIBRARIES)}"


def _torchvision_names() -> list[str]:
    from worker.engine.vision import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _torchvision_network(name: str, class_count: int) -> nn.Module:
    from worker.engine.vision import torchvision

    # These two have branches that serve training alone, which published weights lack and which warn of their start.
    plain = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=class_count, **plain)
    return network


def _torchvision_input(name: str, network: nn.Module) -> InputSpec:
    from worker.engine.vision import torchvision

    stated = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    (resize,), (crop,) = stated.resize_size, stated.crop_size
    return InputSpec(resize, crop, crop, _triple(stated.mean), _triple(stated.std), stated.interpolation.value)


def _timm_names() -> list[str]:
    import timm  # imports torchvision itself, which worker.engine.networks has made importable

    names: list[str] = timm.list_models()
    return names


def _timm_network(name: str, class_count: int) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=class_count)
    return network


def _timm_input(name: str, network: nn.Module) -> InputSpec:
    from timm.data.config import resolve_model_data_config

    stated: Mapping[str, Any] = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    side = stated["input_size"][-1]
    resize = int(side / stated["crop_pct"])
    kind = "bilinear" if stated["interpolation"] == "bilinear" else "bicubic"
    return InputSpec(resize, side, side, _triple(stated["mean"]), _triple(stated["std"]), kind)


def _pytorchcv_names() -> list[str]:
    from pytorchcv import model_provider

    return list(model_provider._models)


def _pytorchcv_network(name: str, class_count: int) -> nn.Module:
    from pytorchcv.model_provider import get_model

    network: nn.Module = get_model(name, pretrained=False, num_classes=class_count)
    return network


def _pytorchcv_input(name: str, network: nn.Module) -> InputSpec:
    """pytorchcv states the size alone; its ImageNet weights expect the usual colours and crop."""
    side = int(getattr(network, "in_size", (224, 224))[0])
    resize = side if side < 64 else round(side / USUAL_CROP)
    return InputSpec(resize, side, side, IMAGENET_MEAN, IMAGENET_STD)


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return (red, green, blue)


LIBRARIES: Mapping[str, Library] = {
    "torchvision": Library(_torchvision_names, _torchvision_network, _torchvision_input),
    "timm": Library(_timm_names, _timm_network, _timm_input),
    "pytorchcv": Library(_pytorchcv_names, _pytorchcv_network, _pytorchcv_input),
}
