"""`pathlight tree`: build the tree over a model's classes."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from shared.cards.card import ModelCard, Registry
from shared.cards.hierarchy import Hierarchy
from shared.cards.versions import CARD, TREE, changing, put
from shared.errors import InvalidHierarchy, InvalidOption, StorageFailed
from shared.settings import Settings

KINDS = ("induced", "wordnet")
SUPERVISED = "was trained on another tree: its soft and hard decisions need that one, marginal works with any"


def build_tree(
    name: str,
    *,
    kind: str,
    normalise: bool | None,
    dictionary: Path | None,
    force: bool,
    settings: Settings,
    console: Console,
) -> None:
    """Build a tree of one of KINDS and store it in the model's folder; `normalise` None means: as the paper."""
    if kind == "wordnet" and normalise is not None:
        raise InvalidOption("--normalise and --raw say how the head's rows are clustered; --kind wordnet has none")
    registry = Registry.load(settings)
    card = registry.get(name)
    old = _stored(card)
    if not force:
        _refuse_to_replace(card, old)
    if kind == "induced":
        registry.ready(name)
    with console.status(f"building the {kind} tree of {name}…") if console.is_terminal else nullcontext():
        from training.trees.model_tree import induced_tree, wordnet_tree
        from training.trees.tree_file import describe, write_tree
        from training.trees.wordnet import FOLDER

        dictionary = dictionary or FOLDER
        if kind == "induced":
            tree = induced_tree(card, normalise=normalise is not False, dictionary=dictionary, labels=old)
        else:
            tree = wordnet_tree(card, dictionary=dictionary)
        path = write_tree(tree, card.folder) if card.declared is None else _put_version(tree, card, settings)
    console.print(f"{path}: {tree.origin}\n{describe(tree)}", soft_wrap=True)
    if card.tree_supervised:
        console.print(f"{name} {SUPERVISED}", soft_wrap=True)


def _put_version(tree: Hierarchy, card: ModelCard, settings: Settings) -> Path:
    """Make the tree, with all else of a model of one's own, a version of the model: a running service takes it whole,
    and answers what it accepted before as it would have."""
    from training.trees.tree_file import write_tree

    assert card.declared is not None
    try:
        with TemporaryDirectory(prefix=".tree-", dir=settings.home) as staging, changing(settings.registry):
            folder = Path(staging) / card.name
            folder.mkdir()
            shutil.copy(card.folder / CARD, folder)
            os.link(card.weights_path, folder / card.weights_path.name)
            write_tree(tree, folder)
            return put(folder, settings.registry / card.name, card.declared) / TREE
    except OSError as error:
        raise StorageFailed(f"{settings.registry / card.name} cannot be written: {error.strerror}") from error


def _stored(card: ModelCard) -> Hierarchy | None:
    """The tree that the model has; None too where the file is damaged, for then it can only be replaced."""
    try:
        return card.hierarchy
    except InvalidHierarchy:
        return None


def _refuse_to_replace(card: ModelCard, old: Hierarchy | None) -> None:
    if not (card.folder / "hierarchy.json").exists():
        return
    what = "one that cannot be read" if old is None else f"{len(old.decisions)} decisions from {old.origin}"
    warning = (
        f"; {card.name} was trained on it, and its soft and hard decisions need it" if card.tree_supervised else ""
    )
    raise InvalidOption(f"{card.name} has a tree already ({what}); --force replaces it{warning}")
