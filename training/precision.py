"""Measure on held-out pictures whether a model answers in bf16 as in fp32, and write the outcome into the model's card.

    python -m training.precision nbdt-cifar10 [--pictures N]

Both precisions see the same pictures through the model's own preprocessing. What passed is served in bf16 where the
hardware has it (PATHLIGHT_PRECISION=auto).
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from shared.cards.card import Bf16Gate, Registry
from shared.images.decode import Photo
from shared.settings import Settings
from training import pictures
from training.calibration import BATCH, own_and_foreign, rounded
from training.pictures import ARCHIVES
from worker.algebra import maps
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.trust.correlation import spearman

SEED = 0


@click.command(help=__doc__)
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, show_default=True)
@click.option(
    "--pictures", "most", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many."
)
def main(model: str, data: Path, most: int) -> None:
    card = Registry.load(Settings.load()).ready(model)
    held_out = {"CIFAR-10 test": pictures.cifar10("test", data), "photos100 val": pictures.photos100("val", data)}
    own, _ = own_and_foreign(card, held_out, seed=SEED)
    images, labels = held_out[own].images[:most], held_out[own].labels[:most]
    gate = measure(Model.load(card), Model.load(card, bf16=True), images, labels)
    write(card.folder / "card.json", gate)
    click.echo(json.dumps(rounded(gate.to_dict()), indent=1))


def measure(fp32: Model, bf16: Model, images: Tensor, labels: Tensor) -> Bf16Gate:
    """Both models on uint8 N x 3 x H x W pictures of N classes. The maps are those of fp32's predictions."""
    found: dict[str, list[Tensor]] = {"fp32": [], "bf16": []}
    correlations: list[float] = []
    for chunk in track(list(images.permute(0, 2, 3, 1).split(BATCH)), f"{fp32.card.name}: fp32 and bf16"):
        inputs = to_tensors([Photo.whole(Image.fromarray(one.numpy())) for one in chunk], fp32.card.input)
        features = {"fp32": fp32.features(inputs), "bf16": bf16.features(inputs)}
        for name, model in (("fp32", fp32), ("bf16", bf16)):
            found[name].append(model.logits(features[name]))
        rows = fp32.weight[found["fp32"][-1].argmax(1)]
        pairs = spearman(*(maps.linear_maps(features[name], rows) for name in ("fp32", "bf16")))
        correlations += [value for value in pairs if value is not None]
    return compare(torch.cat(found["fp32"]), torch.cat(found["bf16"]), labels, correlations)


def compare(fp32: Tensor, bf16: Tensor, labels: Tensor, correlations: list[float]) -> Bf16Gate:
    """From N x K logits in both precisions, N labels, and the rank correlations of the pairs of maps."""
    top = fp32.softmax(1).topk(2).values
    margins = top[:, 0] - top[:, 1]
    flipped = fp32.argmax(1) != bf16.argmax(1)
    right = [float((logits.argmax(1) == labels).double().mean()) * 100 for logits in (fp32, bf16)]
    return Bf16Gate(
        pictures=len(labels),
        accuracy_change=right[1] - right[0],
        flips=int(flipped.sum()),
        widest_flip=float(margins[flipped].max()) if flipped.any() else 0.0,
        rank_correlation=float(torch.tensor(correlations).median()) if correlations else 0.0,
    )


def write(path: Path, gate: Bf16Gate) -> None:
    """Put the outcome into a card before its facts, in the place of an earlier one."""
    card = json.loads(path.read_text("utf-8"))
    card["bf16"] = rounded(gate.to_dict())
    card["facts"] = card.pop("facts", {})
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
