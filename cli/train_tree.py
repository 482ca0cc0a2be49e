"""`pathlight train-tree`: fine-tune a model on a tree over its classes and take the result on as a new model."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cli.own_models import HEEDED, take_on
from shared.cards.card import ModelCard, Registry
from shared.cards.declarations import Declaration, declarations
from shared.cards.hierarchy import Hierarchy
from shared.cards.methods import POOLED_LINEAR
from shared.errors import InvalidHierarchy, InvalidOption, PathlightError, StorageFailed
from shared.files import replacing
from shared.images.decode import Limits
from shared.locks import locked
from shared.settings import Settings

if TYPE_CHECKING:
    from training.labelled_folder import Labelled
    from training.pictures import Pictures
    from training.tree_training import Trained, TrainingPlan

FOLDER = "trained"  # beside models.toml: for each model that is trained here, its run and what came of it
RECORD = "run.json"  # what a run was asked for
WEIGHTS, TREE, CLASSES = KEPT = ("weights.safetensors", "hierarchy.json", "classes.json")
WEIGHT_DECAY = 1e-4
SHOWN = 3  # of the pictures that cannot be read


@dataclass(frozen=True)
class TrainingOptions:
    """The options of the command."""

    model: str
    data: Path
    name: str | None
    hierarchy: Path | None
    epochs: int
    patience: int
    batch: int
    rate: float
    tree_share: float
    held_out: float
    seed: int
    force: bool


def train(options: TrainingOptions, settings: Settings, console: Console) -> None:
    """Train, or go on with a training, and take on what came of it. Ctrl-C leaves every finished epoch.

    Raises InvalidOption, InvalidHierarchy, ModelUnavailable, AlreadyRunning or StorageFailed.
    """
    card = Registry.load(settings).ready(options.model)
    with console.status("loading…"):
        declaration = _declaration(options, card, settings)
    run = declaration.weights.parent
    try:
        run.mkdir(parents=True, exist_ok=True)
        with locked(
            run / "lock", taken=f"{declaration.name} is being trained by another process; wait for it or end it"
        ):
            _train(options, card, declaration, settings, console)
    except KeyboardInterrupt:
        raise PathlightError("stopped; finished epochs are kept, and the same command goes on from there") from None
    except OSError as error:
        raise StorageFailed(f"the training in {run} cannot go on: {error.strerror}") from error


def _train(
    options: TrainingOptions, card: ModelCard, declaration: Declaration, settings: Settings, console: Console
) -> None:
    run = declaration.weights.parent
    with console.status("loading…"):
        from training.labelled_folder import digest, divide, find_labelled
        from training.tree_training import train_on_tree
        from training.trees.tree_file import describe
        from worker.algebra.tree import TreeMatrices
        from worker.engine.architectures import build
        from worker.engine.weights import load_weights

        pictures = find_labelled(options.data, card)
        tree = _tree(options, card)
        _begin(run, _record(options, card, tree, pictures=digest(pictures, options.data)), force=options.force)
        network = build(card.architecture, card.class_count)
        load_weights(network, card)
    divided = divide(pictures, held_out=options.held_out, seed=options.seed)
    parts = {name: _prepared(name, part, card, run, settings, console) for name, part in divided.items()}
    plan = _plan(options, card, train_count=len(parts["train"]))
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    console.print(f"pictures: {counts}\ntree: {describe(tree)}", soft_wrap=True, markup=False)
    trained = train_on_tree(
        network, card.input, TreeMatrices.of(tree), plan, parts, run=run, weights=declaration.weights
    )
    _write_tree(tree, card, run)
    known = _facts(options, plan, trained, test_count=len(parts["test"]))
    for line in _losses(options, trained, test_count=len(parts["test"])):
        console.print(line, soft_wrap=True, style="yellow")
    take_on(declaration, settings, console, known=known)
    _clear(run)
    console.print(_compared(trained, test_count=len(parts["test"])), soft_wrap=True)
    console.print(f"Try: pathlight explain photo.jpg --model {declaration.name}\n{HEEDED}", soft_wrap=True)


def _declaration(options: TrainingOptions, card: ModelCard, settings: Settings) -> Declaration:
    """The entry of the model to come, whose files need not be there yet."""
    from worker.engine.admission import check_name

    name = options.name or f"{card.name}-tree"
    entry = {
        "architecture": card.architecture,
        "weights": f"{FOLDER}/{name}/{WEIGHTS}",
        "classes": f"{FOLDER}/{name}/{CLASSES}",
        "hierarchy": f"{FOLDER}/{name}/{TREE}",
        "title": f"{card.title}, trained on its tree",
        "tree_supervised": True,
        **card.input.to_dict(),
    }
    declaration = Declaration(name, entry, settings.own_models.parent)
    check_name(name)
    if name in declarations(settings.own_models) and not options.force:
        raise InvalidOption(f"{name} is in {settings.own_models} already; give another --name, or --force replaces it")
    return declaration


def _tree(options: TrainingOptions, card: ModelCard) -> Hierarchy:
    """The tree that was given, that the model has, or that its head implies."""
    from training.trees.model_tree import induced_tree
    from training.trees.wordnet import FOLDER as DICTIONARY

    given = card.hierarchy if options.hierarchy is None else Hierarchy.load(options.hierarchy)
    if given is None and card.head != POOLED_LINEAR:
        raise InvalidHierarchy(f"{card.name} has neither a tree nor a linear head that implies one; give --hierarchy")
    if given is None:
        return induced_tree(card, normalise=True, dictionary=DICTIONARY, labels=None)
    if given.class_count != card.class_count:
        raise InvalidHierarchy(
            f"the tree is one over {given.class_count} classes, not over the {card.class_count} of {card.name}"
        )
    return given


def _record(options: TrainingOptions, card: ModelCard, tree: Hierarchy, *, pictures: str) -> dict[str, Any]:
    """All that the weights to come depend on."""
    from training.trees.tree_file import to_text

    kept = {key: value for key, value in asdict(options).items() if key not in ("data", "hierarchy", "force", "name")}
    tree_digest = hashlib.sha256(to_text(tree).encode()).hexdigest()
    spec = {"weights": card.weights.sha256, "input": card.input.to_dict(), "tree": tree_digest, "pictures": pictures}
    return {**kept, **spec}


def _begin(run: Path, record: Mapping[str, Any], *, force: bool) -> None:
    """Go on with the run of this record, or begin it."""
    place = run / RECORD
    if place.exists():
        if json.loads(place.read_text("utf-8")) == record:
            return
        if not force:
            raise InvalidOption(f"{run} holds a training with other pictures or options; --force starts anew")
    _clear(run)
    with replacing(place) as partial:
        partial.write_text(json.dumps(record), "utf-8")


def _prepared(
    name: str, part: Sequence[Labelled], card: ModelCard, run: Path, settings: Settings, console: Console
) -> Pictures:
    from training.labelled_folder import prepare

    pictures, left_out = prepare(part, card.input, names=card.classes, place=run / name, limits=Limits.of(settings))
    for sentence in left_out[:SHOWN]:
        console.print(f"left out: {sentence}", soft_wrap=True, markup=False)
    if len(left_out) > SHOWN:
        console.print(f"and {len(left_out) - SHOWN} more")
    if len(pictures) < 2:
        raise InvalidOption(f"of the {name} part fewer than two pictures can be read; give more")
    return pictures


def _plan(options: TrainingOptions, card: ModelCard, *, train_count: int) -> TrainingPlan:
    from training.fit import Recipe
    from training.tree_training import TrainingPlan

    recipe = Recipe(
        epochs=options.epochs,
        batch=min(options.batch, train_count),
        peak_rate=options.rate,
        weight_decay=WEIGHT_DECAY,
        mean=card.input.mean,
        std=card.input.std,
        seed=options.seed,
    )
    return TrainingPlan(recipe, options.tree_share, options.patience)


def _write_tree(tree: Hierarchy, card: ModelCard, run: Path) -> None:
    from training.trees.tree_file import write_tree

    write_tree(tree, run)
    (run / CLASSES).write_text(json.dumps(card.classes, ensure_ascii=False), "utf-8")


def _facts(options: TrainingOptions, plan: TrainingPlan, trained: Trained, *, test_count: int) -> dict[str, Any]:
    """What the card is to say of the training."""
    split = {"split": f"test, {test_count} pictures that were not trained on", "unit": "percent"}
    return {
        "trained_from": options.model,
        "recipe": plan.describe(),
        "best_epoch": trained.best_epoch,
        "accuracy": {**split, **trained.after},
        "accuracy_before": {**split, **trained.before},
    }


def _losses(options: TrainingOptions, trained: Trained, *, test_count: int) -> list[str]:
    """What the new model is worse at than the one it began with; it is said before all else."""
    fallen = [key for key, now in trained.after.items() if now < trained.before[key]]
    lines = []
    if trained.best_epoch == 0:
        lines.append(f"No epoch was better than the start: the weights are those of {options.model}.")
    if fallen:
        listed = ", ".join(f"{key} {trained.after[key]} % (before {trained.before[key]} %)" for key in fallen)
        lines.append(f"Worse than {options.model} on {test_count} pictures that were not trained on: {listed}.")
    return lines


def _compared(trained: Trained, *, test_count: int) -> str:
    lines = [f"right of {test_count} pictures that were not trained on, in per cent (before):"]
    return "\n".join([*lines, *(f"  {key} {now} ({trained.before[key]})" for key, now in trained.after.items())])


def _clear(run: Path) -> None:
    """Remove what a run needs while it goes on; what came of it stays."""
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (*KEPT, "lock"):
            path.unlink()
