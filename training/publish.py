"""Make a shippable model folder from a finished training: fp16 weights, and a card with measured accuracies.

python -m training.publish cifar10
python -m training.publish photos100
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from shared.cards.hierarchy import Hierarchy
from shared.settings import REPOSITORY
from training import cifar10, photos100, pictures
from training.fit import FINISHED, Recipe, predict
from training.half_precision import write_in_half_precision
from training.supervision import accuracies
from worker.algebra.tree import TreeMatrices
from worker.engine.architectures import build

TITLES = {
    "nbdt-cifar10": "Neural-backed decision tree on CIFAR-10",
    "resnet18-photos100": "ResNet18 on 100 classes of everyday photographs",
}


@click.group(help=__doc__)
def main() -> None: ...


_RUN = click.Path(path_type=Path, exists=True, file_okay=False)


@main.command("cifar10")
@click.option("--data", type=click.Path(path_type=Path), default=pictures.ARCHIVES, show_default=True)
@click.option("--run", type=_RUN, default=Path(".pathlight/training/cifar10"), show_default=True)
def publish_cifar10(data: Path, run: Path) -> None:
    """Publish nbdt-cifar10."""
    folder = REPOSITORY / "models" / "nbdt-cifar10"
    test = pictures.cifar10("test", data)
    network = _half_precision_network("cifar_resnet", len(test.names), run, folder)
    matrices = TreeMatrices.of(Hierarchy.load(folder / "hierarchy.json"))
    accuracy = accuracies(predict(network, test.images, cifar10.RECIPE, size=32), test.labels, matrices)
    _write_card(
        folder,
        architecture="cifar_resnet",
        layer="trunk",
        classes=test.names,
        wnids=(),
        size={"resize": 32, "crop": 32, "size": 32},
        recipe=cifar10.RECIPE,
        tree_supervised=True,
        facts={
            "data": "CIFAR-10, the usual split, as JPEG copies of the originals",
            "accuracy": {"split": f"test, {len(test)} pictures", "unit": "percent", **accuracy},
            "recipe": cifar10.describe(),
        },
    )


@main.command("photos100")
@click.option("--data", type=click.Path(path_type=Path), default=pictures.ARCHIVES, show_default=True)
@click.option("--run", type=_RUN, default=Path(".pathlight/training/photos100"), show_default=True)
def publish_photos100(data: Path, run: Path) -> None:
    """Publish resnet18-photos100."""
    folder = REPOSITORY / "models" / "resnet18-photos100"
    val = pictures.photos100("val", data)
    network = _half_precision_network("resnet18_fine", len(val.names), run, folder)
    logits = predict(network, val.images, photos100.RECIPE, size=photos100.SERVED_SIZE)
    accuracy = {f"top{k}": round(photos100.top(logits, val.labels, k), 2) for k in (1, 5)}
    _write_card(
        folder,
        architecture="resnet18_fine",
        layer="layer4",
        classes=val.names,
        wnids=val.wnids,
        size={"resize": 64, "crop": 64, "size": photos100.SERVED_SIZE},
        recipe=photos100.RECIPE,
        tree_supervised=False,
        facts={
            "data": "photos100: 100 classes of Tiny ImageNet, 64 pixels, as WebP copies",
            "accuracy": {"split": f"val, {len(val)} pictures", "unit": "percent", **accuracy},
            "recipe": photos100.describe(),
        },
    )


def _half_precision_network(architecture: str, class_count: int, run: Path, folder: Path) -> nn.Module:
    """The trained network, with the weights that ship."""
    network = build(architecture, class_count)
    network.load_state_dict(torch.load(run / FINISHED, weights_only=True, map_location="cpu"))
    folder.mkdir(parents=True, exist_ok=True)
    write_in_half_precision(network, folder / "weights.safetensors")
    return network.eval()


def _write_card(
    folder: Path,
    *,
    architecture: str,
    layer: str,
    classes: tuple[str, ...],
    wnids: tuple[str, ...],
    size: Mapping[str, int],
    recipe: Recipe,
    tree_supervised: bool,
    facts: Mapping[str, Any],
) -> None:
    weights = folder / "weights.safetensors"
    card = {
        "name": folder.name,
        "title": TITLES[folder.name],
        "architecture": architecture,
        "class_count": len(classes),
        "classes": list(classes),
        "wnids": list(wnids),
        "input": {**size, "mean": list(recipe.mean), "std": list(recipe.std)},
        "layer": layer,
        "weights": {"file": weights.name, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "tree_supervised": tree_supervised,
        "facts": {**facts, "optimizer": asdict(recipe), "licence": "the project's own"},
    }
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    click.echo(json.dumps(facts["accuracy"]))


if __name__ == "__main__":
    main()
