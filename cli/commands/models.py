"""Commands about models and their trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from cli.commands.common import console, sentences
from cli.tree import KINDS as TREE_KINDS
from shared.cards.card import Registry
from shared.cards.declarations import INTERPOLATIONS
from shared.settings import Settings

_FILE = click.Path(exists=True, dir_okay=False)


@click.group(invoke_without_command=True)
@click.pass_context
@sentences
def models(context: click.Context) -> None:
    """List the models: what they are, and whether they are ready."""
    if context.invoked_subcommand is None:
        _list_models()


@models.command("list")
@sentences
def list_() -> None:
    """List the models, as `pathlight models` does."""
    _list_models()


def _list_models() -> None:
    registry = Registry.load(Settings.load())
    longest = max(map(len, registry.cards), default=0)
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "ready", "classes", "tree", "what it is"):
        table.add_column(heading, no_wrap=heading == "model", min_width=longest if heading == "model" else None)
    for card in registry.cards.values():
        tree = "no" if card.hierarchy is None else "supervised" if card.tree_supervised else "yes"
        table.add_row(card.name, "no" if card.missing else "yes", str(card.class_count), tree, escape(card.title))
    console.print(table)
    for name, reason in registry.unchecked.items():
        console.print(f"\n{name} is not ready: {reason}; run: pathlight models add {name}", soft_wrap=True)
    for card in registry.cards.values():
        if card.missing:
            console.print(f"\n{card.name} is not ready: {card.missing}; run: {card.remedy}", soft_wrap=True)


@models.command()
@click.argument("names", nargs=-1)
@sentences
def fetch(names: tuple[str, ...]) -> None:
    """Download the weights of upstream models (all of them, or NAMES) into the cache, and check them.

    A running service takes note within seconds.
    """
    from cli.fetch import fetch_models

    fetch_models(names, Settings.load(), console)


@models.command()
@click.argument("name", required=False)
@click.option("--architecture", help="LIBRARY/NAME, of torchvision, timm or pytorchcv.")
@click.option("--weights", type=_FILE, help="A safetensors file, or a state dict (.pth, .pt).")
@click.option("--classes", type=_FILE, help="Names, one a line or a JSON list.  [default: torchvision's of ImageNet]")
@click.option("--hierarchy", type=_FILE, help="A tree over the classes, hierarchy.json.")
@click.option("--title", help="What the model is, in a few words.")
@click.option("--size", type=int, help="Side of the input in pixels.  [default: the library's]")
@click.option("--resize", type=int, help="Pixels that the shorter side is reduced to.")
@click.option("--crop", type=int, help="Pixels of the centre square that is cut out then.")
@click.option("--mean", type=float, nargs=3, help="Mean colour, red green blue from 0 to 1.")
@click.option("--std", type=float, nargs=3, help="Standard deviation of the colours, above 0 to 1.")
@click.option("--interpolation", type=click.Choice(INTERPOLATIONS), help="Of the reduction.")
@click.option("--force", is_flag=True, help="Replace the entry that NAME has.")
@sentences
def add(name: str | None, force: bool, **given: Any) -> None:
    """Add a model of your own: check it, and write it into models.toml.

    The architecture is taken by its name from a library, the weights are read as plain tensors, and no code of yours
    is run. Pathlight finds the last feature map and the head, checks that they give the network's own logits, and
    measures the certificate of the maps and the time a picture takes. All of it is written into the model's card.

    Without options, the entry NAME of models.toml is checked; without a name, all that were not. A running service
    takes note within seconds.

    \b
    Try:
      pathlight models add pets --architecture torchvision/mobilenet_v3_small --weights pets.pth --classes pets.txt
      pathlight explain photo.jpg --model pets --method gradcam
    """
    from cli.own_models import add_models

    entry = {
        key: list(value) if isinstance(value, tuple) else value for key, value in given.items() if value is not None
    }
    add_models(name, entry, Settings.load(), console, force=force)


@models.command()
@click.argument("names", nargs=-1, required=True)
@sentences
def remove(names: tuple[str, ...]) -> None:
    """Remove models of your own: their entries in models.toml, later their cards and the copies of their weights.

    A running service takes note within seconds. What it has accepted before is still answered, so that the files stay
    for an hour at least, and until no unfinished job names them; then the service, or `pathlight gc`, removes them.
    """
    from cli.own_models import remove_models

    remove_models(names, Settings.load(), console)


@click.group()
def tree() -> None:
    """The trees over the models' classes, by which decisions are explained."""


@tree.command("build")
@click.argument("model")
@click.option(
    "--kind", type=click.Choice(TREE_KINDS), default="induced", show_default=True, help="Where the tree comes from."
)
@click.option(
    "--normalise/--raw",
    default=None,
    help="Induced: cluster the head's rows divided by their lengths, or as they are.  [default: normalise]",
)
@click.option(
    "--wordnet",
    "dictionary",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of WordNet 3.0's data.noun.  [default: /usr/share/wordnet]",
)
@click.option("--force", is_flag=True, help="Replace the tree that the model has.")
@sentences
def build(model: str, kind: str, normalise: bool | None, dictionary: Path | None, force: bool) -> None:
    """Build a tree over the classes of MODEL and store it beside its card, as hierarchy.json.

    An induced tree follows what the network learned: Ward clustering of the rows of its linear head, always binary. It
    needs the weights. A wordnet tree follows what the classes are, and needs their WordNet ids in the card.

    Decisions are named by the deepest WordNet noun that all classes below are kinds of; without WordNet ids they have
    no name. Labels that somebody wrote into the replaced file stay with nodes over the same classes. The same weights
    and the same WordNet always give the same file.

    \b
    Try:
      pathlight tree build resnet18-imagenet --kind wordnet --force
      pathlight tree build resnet18-photos100 --raw --force
    """
    from cli.tree import build_tree

    settings = Settings.load()
    build_tree(
        model,
        kind=kind,
        normalise=normalise,
        dictionary=dictionary,
        force=force,
        settings=settings,
        console=console,
    )


@click.command("train-tree")
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Labelled pictures: one sub-folder for each class, called like it.",
)
@click.option("--name", help="What the new model is to be called.  [default: MODEL-tree]")
@click.option(
    "--hierarchy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The tree, hierarchy.json.  [default: the one that MODEL has; without one, that of its head]",
)
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True, help="Epochs at most.")
@click.option(
    "--patience", type=click.IntRange(1), default=3, show_default=True, help="End after so many without gain."
)
@click.option("--batch", type=click.IntRange(2), default=32, show_default=True, help="Pictures in one step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), default=0.01, show_default=True, help="Peak of SGD.")
@click.option(
    "--tree-share", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The tree's part of the loss."
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of the pictures that is not trained on: half to choose the epoch by, half to measure on.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Train the model NAME anew, or with other options.")
@sentences
def train_tree(model: str, data: Path, **given: Any) -> None:
    """Fine-tune MODEL on a tree over its classes: a neural-backed decision tree of your own.

    The network learns to decide rightly at every node of the tree (the loss of arXiv 2004.00221, as a likelihood), so
    that soft and hard decisions come nearer to its own answers. The result is a new model; MODEL stays as it is. Its
    card states the accuracies of network, soft, hard and marginal decisions on pictures that were not trained on.

    Ctrl-C or a crash costs the epoch that was under way: the same command goes on, and comes to the same weights.

    \b
    Try:
      pathlight train-tree pets --data pictures/
      pathlight explain photo.jpg --model pets-tree
    """
    from cli.train_tree import TrainingOptions, train

    train(TrainingOptions(model=model, data=data, **given), Settings.load(), console)
