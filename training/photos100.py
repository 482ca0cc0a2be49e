"""Train `resnet18-photos100`: torchvision's resnet18 with a fine last stage, on 100 classes of everyday photographs.

    python -m training.photos100

The pictures have 64 pixels. Early epochs see small views, which are cheap, the last ones the size that is served.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Generator, Tensor
from torch.nn import functional

from training import augment
from training.fit import Recipe, fit, predict, save_finished
from training.pictures import ARCHIVES, photos100
from worker.networks import resnet18_fine

SIZES = (48,) * 7 + (64,) * 5 + (96,) * 2  # pixels of a view, by epoch
RECIPE = Recipe(
    epochs=len(SIZES),
    batch=128,
    peak_rate=0.15,
    weight_decay=3e-4,
    warm_up=0.15,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
LABEL_SMOOTHING = 0.1
CROP_AREA = (0.45, 1.0)
SERVED_SIZE = 112  # larger than the last views, because whole pictures show their objects smaller than crops do


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, show_default=True)
@click.option(
    "--run", type=click.Path(path_type=Path), default=Path(".pathlight/training/photos100"), show_default=True
)
def main(data: Path, run: Path) -> None:
    torch.manual_seed(RECIPE.seed)
    train, val = photos100("train", data), photos100("val", data)
    network = resnet18_fine(len(train.names))

    def loss(logits: Tensor, labels: Tensor, share: float) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)

    def view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        return augment.crop_and_resize(flipped, size=SIZES[epoch], area=CROP_AREA, generator=rng)

    def after_epoch(epoch: int) -> str:
        if epoch % 3 and epoch < RECIPE.epochs - 1:
            return ""
        some = slice(None) if epoch == RECIPE.epochs else slice(None, None, 5)
        size = SERVED_SIZE if epoch == RECIPE.epochs else SIZES[epoch - 1]
        logits = predict(network, val.images[some], RECIPE, size=size)
        best = [f"top-{k} {top(logits, val.labels[some], k):.2f}" for k in (1, 5)]
        return f"val at {size} px: {', '.join(best)}"

    fit(
        network,
        RECIPE,
        train.images,
        train.labels,
        loss=loss,
        view=view,
        checkpoint=run / "checkpoint.pt",
        after_epoch=after_epoch,
    )
    save_finished(network, run)


def describe() -> str:
    """The recipe in one sentence, for the model card."""
    return (
        f"cross-entropy (label smoothing {LABEL_SMOOTHING}); alternating flips, random crops of "
        f"{CROP_AREA[0]:.0%} to {CROP_AREA[1]:.0%} of the area; epochs by size of view: {augment.epochs_by_size(SIZES)}"
    )


def top(logits: Tensor, labels: Tensor, k: int) -> float:
    """Share of pictures whose label is among the k best classes, in per cent."""
    return (logits.topk(k).indices == labels[:, None]).any(1).float().mean().item() * 100


if __name__ == "__main__":
    main()
