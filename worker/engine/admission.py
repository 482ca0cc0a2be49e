"""Taking on a model of one's own: what models.toml declares is built, checked and measured, and gets its card.

The weights are read as plain tensors, fitted strictly, and kept as safetensors beside the card, which has their
SHA-256: every later load reads that copy, and only while it has that hash. Nothing of the user's is ever executed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from shared import json_text
from shared.cards.card import InputSpec, ModelCard
from shared.cards.class_names import alike
from shared.cards.declarations import Declaration, declarations, declare, text_with, withdraw
from shared.cards.hierarchy import Hierarchy
from shared.cards.versions import CARD, TREE, WEIGHTS, changing, current_version, mark_removed, put
from shared.errors import InvalidHierarchy, InvalidOption, ModelUnavailable, StorageFailed
from shared.settings import REPOSITORY, Settings
from worker.algebra import maps
from worker.algebra.tree import matrices_bytes
from worker.engine.anatomy import Anatomy, PooledLinear, dissect
from worker.engine.architectures import build, input_of
from worker.engine.models import Model
from worker.engine.weights import faults, read_unvouched_state, sha256_of

SMALLEST_TERMS = 1e-30  # where a map and its bias are 0, nothing is missed
SMALLEST_STD = 0.001  # of colours from 0 to 1; some networks have 1/255
MOST_CLASSES = 32_768  # a head for so many takes up to half a gigabyte, whatever the file of its weights holds
LARGEST_TREE = 512 * 1024 * 1024  # bytes of a tree's matrices, and what follows for each byte of the weights
TREE_PER_BYTE = 8
PICTURES = 8  # random ones, on which the certificate is measured
FEWEST_ROUNDS, MOST_ROUNDS, TIMED_SECONDS = 7, 100, 0.3  # of the timing
LARGEST_LIST = 4 * 1024 * 1024  # bytes of a file of class names
LONGEST_NAME = 200

Say = Callable[[str], None]
"""Told what is being done, in a few words."""


def admit(
    declaration: Declaration, settings: Settings, *, say: Say, known: Mapping[str, Any] | None = None
) -> ModelCard:
    """Check a model and put its card, weights and tree into the registry, and its entry into models.toml.

    `known` are facts for the card beside those that are found here, such as accuracies; those of an earlier check hold
    where weights, classes, input and tree are still the same. Nothing changes where it fails.
    Raises ModelUnavailable, InvalidHierarchy, InvalidOption or StorageFailed.
    """
    name = declaration.name
    check_name(name)
    classes = class_names(declaration)
    say("building the network")
    network = build(declaration.architecture, len(classes)).eval().requires_grad_(False)
    spec = input_spec(declaration, network)
    say("reading the weights")
    digest = sha256_of(declaration.weights)
    _fit(network, read_unvouched_state(declaration.weights), declaration, class_count=len(classes))
    tree = _hierarchy(declaration, class_count=len(classes)) or _built_tree(declaration, classes, settings)
    say("looking for trunk and head")
    parts = dissect(network, size=spec.size)
    say("measuring")
    facts = {
        **(known or {}),
        "source": {"file": declaration.weights.name, "sha256": digest},
        "library": _library(declaration.architecture),
        "certificate": _certificate(parts, spec),
    }
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(prefix=".add-", dir=settings.home) as staging:
            folder = Path(staging) / name
            folder.mkdir()
            _write_weights(network, folder / WEIGHTS)
            if tree is not None:
                _write_json(folder / TREE, tree.to_dict())
            card = _card(declaration, classes, spec, parts, sha256=sha256_of(folder / WEIGHTS))
            earlier = _earlier_facts(current_version(settings.registry / name, declaration.entry), folder, card)
            _write_json(folder / CARD, {**card, "facts": {**earlier, **facts}})
            facts["milliseconds_per_picture"] = _milliseconds(_loaded(folder, settings))
            _write_json(folder / CARD, {**card, "facts": {**earlier, **facts}})
            version = _put_in_place(folder, declaration, settings)
    except OSError as error:
        raise StorageFailed(f"{settings.home} cannot be written: {error.strerror}") from error
    return ModelCard.load(version / CARD, cache=settings.cache)


def check_name(name: str) -> None:
    """Raises InvalidOption where a model of one's own cannot be called so."""
    if (REPOSITORY / "models" / name).exists():
        raise InvalidOption(f"{name} is the name of a model that ships; choose another")


def dismiss(name: str, settings: Settings) -> None:
    """Take a model out of models.toml. Its files go when no accepted job needs them any more. Raises InvalidOption
    where it is none of one's own."""
    with changing(settings.registry):
        if name not in declarations(settings.own_models):
            raise InvalidOption(f"{name!r} is not a model of {settings.own_models}; models that ship cannot be removed")
        mark_removed(settings.registry / name)
        withdraw(settings.own_models, name)


def class_names(declaration: Declaration) -> tuple[str, ...]:
    """The names that a declaration gives, or torchvision's of ImageNet. Raises ModelUnavailable, also where two classes
    have one name."""
    given = declaration.classes
    if given is None:
        from worker.engine.vision import imagenet_names

        return imagenet_names()
    names = _read_names(given) if isinstance(given, Path) else given
    if same := alike(names):
        listed = " and ".join(f"{names[index]!r} ({index})" for index in same[:5])
        raise ModelUnavailable(f"the class names {listed} are the same; give each class a name of its own")
    return names


def input_spec(declaration: Declaration, network: nn.Module) -> InputSpec:
    """What the library states of the input, less what the declaration says otherwise: a size or a crop alone keeps
    the library's share of the picture. Raises ModelUnavailable."""
    stated, given = input_of(declaration.architecture, network), declaration.input
    if stated is None:
        missing = [key for key in ("size", "mean", "std") if key not in given]
        if missing:
            raise ModelUnavailable(f"{declaration.architecture} states no input; give {', '.join(missing)} too")
        stated = InputSpec(given["size"], given["size"], given["size"], given["mean"], given["std"])
    crop = given.get("crop", given.get("size", stated.crop))
    resize = given.get("resize", round(crop * stated.resize / stated.crop))
    if crop > resize:
        raise ModelUnavailable(f"crop is {crop} pixels of a picture resized to {resize}; it must be no more than that")
    size = given.get("size", crop)
    spec = InputSpec.from_dict({**stated.to_dict(), **given, "resize": resize, "crop": crop, "size": size})
    for name, values, least in (("mean", spec.mean, 0.0), ("std", spec.std, SMALLEST_STD)):
        if not all(least <= value <= 1 for value in values):
            raise ModelUnavailable(
                f"{name} is {' '.join(map(str, values))}; it must lie in {least:g} to 1, as colours do here; "
                "where yours is of colours from 0 to 255, divide it by 255"
            )
    return spec


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise ModelUnavailable(f"{path.name} is no list of class names: it has more than {LARGEST_LIST} bytes")
        text = path.read_text("utf-8-sig")  # some editors begin a file with a byte-order mark
        listed = (
            json_text.decode_few(text.encode(), most=8 * MOST_CLASSES)
            if path.suffix == ".json"
            else [line.strip() for line in text.splitlines()]
        )
    except OSError as error:
        raise ModelUnavailable(f"the class names {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelUnavailable(f"the class names {path} are neither one a line nor a JSON list: {error}") from error
    if not isinstance(listed, list):
        raise ModelUnavailable(f"{path.name} is no list of class names; write one name a line")
    names = [name for name in listed if name != ""]
    for name in names:
        if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NAME:
            raise ModelUnavailable(f"{path.name} holds {str(name)[:40]!r}, which is no class name")
    if len(names) > MOST_CLASSES:
        raise ModelUnavailable(f"{path.name} lists {len(names)} class names; at most {MOST_CLASSES} are taken")
    if len(names) < 2:
        raise ModelUnavailable(f"{path.name} lists {len(names)} class names; a classifier has at least two")
    return tuple(names)


def _fit(network: nn.Module, state: dict[str, Tensor], declaration: Declaration, *, class_count: int) -> None:
    """Load the weights; where they are of another number of classes, say of which."""
    found = faults(network, state)
    if found:
        own = network.state_dict()
        others = {
            len(state[key])
            for key in own.keys() & state.keys()
            if own[key].shape != state[key].shape and own[key].shape[:1] == (class_count,) and state[key].ndim
        }
        what = f"{declaration.weights.name} does not fit {declaration.architecture} with {class_count} classes"
        if len(others) == 1:
            raise ModelUnavailable(f"{what}: it has {others.pop()}; give as many class names")
        raise ModelUnavailable(f"{what}: {found}; is it of another architecture?")
    network.load_state_dict(state)


def _hierarchy(declaration: Declaration, *, class_count: int) -> Hierarchy | None:
    if declaration.hierarchy is None:
        return None
    tree = Hierarchy.load(declaration.hierarchy)
    check_tree(tree, declaration.hierarchy, weights_bytes=declaration.weights.stat().st_size)
    if tree.class_count != class_count:
        raise InvalidHierarchy(
            f"{declaration.hierarchy.name} is a tree over {tree.class_count} classes, not over the {class_count} of "
            f"{declaration.name}"
        )
    return tree


def _built_tree(declaration: Declaration, classes: tuple[str, ...], settings: Settings) -> Hierarchy | None:
    """The tree that `pathlight tree build` has made for the model, which no entry names; None where there is none for
    these classes."""
    version = current_version(settings.registry / declaration.name, declaration.entry)
    if declaration.hierarchy is not None or version is None:
        return None
    card = ModelCard.load(version / CARD, cache=settings.cache)
    return card.hierarchy if card.classes == classes else None


def check_tree(tree: Hierarchy, path: Path, *, weights_bytes: int = 0) -> None:
    """Raises InvalidHierarchy where a worker would need far more memory for a tree than for its model."""
    needed, most = matrices_bytes(tree), LARGEST_TREE + TREE_PER_BYTE * weights_bytes
    if needed > most:
        raise InvalidHierarchy(
            f"{path.name} takes {needed:,} bytes as matrices of {len(tree.edges)} edges, and at most {most:,} are "
            "taken beside these weights; give a tree with fewer nodes"
        )


@torch.inference_mode()
def _certificate(parts: Anatomy, spec: InputSpec) -> dict[str, Any] | None:
    """How closely any class map adds up to its logit on random pictures: the largest residual, relative to the logit,
    and the largest backward error. None where the head is no linear one."""
    head = parts.head
    if not isinstance(head, PooledLinear):
        return None
    inputs = torch.randn(PICTURES, 3, spec.size, spec.size, generator=torch.Generator().manual_seed(1))
    features = parts.trunk(inputs).float()
    logits = head(features).double()
    raw = maps.class_maps(features, head.weight).double()
    missed = (raw.mean((2, 3)) + head.bias - logits).abs()
    terms = maps.absolute_terms(features, head.weight).double() + head.bias.abs()
    residual, backward_error = missed / logits.abs().clamp(min=1), missed / terms.clamp(min=SMALLEST_TERMS)
    tolerance = maps.TOLERANCE[torch.float32]
    holds = (residual <= tolerance) | (backward_error <= maps.BACKWARD_ERROR)
    return {
        "pictures": PICTURES,
        "classes": logits.shape[1],
        "residual": float(residual.max()),
        "backward_error": float(backward_error.max()),
        "tolerance": tolerance,
        "exact": bool(holds.all()),
    }


def _milliseconds(model: Model) -> float:
    """Of one picture through the network, alone, on this machine, as a worker runs it; the median of many rounds."""
    size = model.card.input.size
    inputs = torch.zeros(1, 3, size, size)
    model.logits(model.features(inputs))  # the first takes longer
    seconds: list[float] = []
    while len(seconds) < FEWEST_ROUNDS or (sum(seconds) < TIMED_SECONDS and len(seconds) < MOST_ROUNDS):
        began = time.perf_counter()
        model.logits(model.features(inputs))
        seconds.append(time.perf_counter() - began)
    return round(median(seconds) * 1000, 1)


def _card(
    declaration: Declaration,
    classes: tuple[str, ...],
    spec: InputSpec,
    parts: Anatomy,
    *,
    sha256: str,
) -> dict[str, Any]:
    """All of the card but the facts that were measured."""
    return {
        "name": declaration.name,
        "title": declaration.title,
        "architecture": declaration.architecture,
        "class_count": len(classes),
        "classes": list(classes),
        "input": spec.to_dict(),
        "layer": parts.layer,
        "head": parts.kind,
        "weights": {"file": WEIGHTS, "sha256": sha256},
        "tree_supervised": declaration.tree_supervised,
        "declared": dict(declaration.entry),
    }


def _earlier_facts(earlier: Path | None, folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """What the card in place tells, where it is the same in all else, and so is the tree."""
    if earlier is None:
        return {}
    try:
        told = json_text.decode((earlier / CARD).read_bytes())
        facts = dict(told.pop("facts"))
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    same_tree = _text_of(earlier / TREE) == _text_of(folder / TREE)
    return facts if told == card and same_tree else {}


def _text_of(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _library(architecture: str) -> str | None:
    library, _, name = architecture.rpartition("/")
    return f"{library} {version(library)}" if library else None


def _write_weights(network: nn.Module, path: Path) -> None:
    save_file({key: value.detach().clone().contiguous() for key, value in network.state_dict().items()}, path)
    path.chmod(0o644)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _loaded(folder: Path, settings: Settings) -> Model:
    """The way that a worker goes. Raises ModelUnavailable where it cannot."""
    return Model.load(ModelCard.load(folder / CARD, cache=settings.cache))


def _put_in_place(folder: Path, declaration: Declaration, settings: Settings) -> Path:
    """Where the version lies from now on. What a reader sees changes once: with the version that the entry names where
    models.toml has the entry already, with models.toml where it has not."""
    with changing(settings.registry):
        text_with(settings.own_models, declaration)  # raises before anything is changed
        version = put(folder, settings.registry / declaration.name, declaration.entry)
        declare(settings.own_models, declaration)
    return version
