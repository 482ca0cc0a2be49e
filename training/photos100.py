"""Train `resnet18-photos100`: torchvision's resnet18 with a fine last stage, on 100 classes of everyday photographs.

    python -m training.photos100

The pictures have 64 pixels. Early epochs see small views, which are cheap; views of the last ones are nearly as large
as the served input. The network learns from the labels and from the answers of EfficientNet-Lite0, which come first.

Everything lies in the run's folder, and the same command resumes it: the answers after every few pictures, the training
after every epoch. Two processor cores with AVX2 and nothing else to do need an estimated four to five hours (7.4 hours
of processor time for the steps, 0.8 for the answers); where the processor multiplies in bf16, less.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import torch
from torch import Generator, Tensor

from training import augment
from training.distillation import Teacher, ask, distillation_loss, lessons
from training.fit import Recipe, fit, predict, save_finished
from training.pictures import ARCHIVES, photos100
from worker.engine.networks import resnet18_fine

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
TEACHER = "efficientnet-lite0-imagenet"
# Pixels to which the teacher's pictures are enlarged, bilinear. Of 294 pictures of the val split it names 68.4 % among
# these classes, with its probabilities as they are (at 160 px 67.3 %, at 224 px 68.7 %; bicubic 64.6 % at 192 px).
TEACHER_SIZE = 192
TEACHER_SHARE = 0.5  # of the teacher's term in the loss
TEMPERATURE = 2.0
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
    teacher = Teacher.load(TEACHER, wnids=train.wnids, size=TEACHER_SIZE)
    answers = ask(teacher, train.images, train.labels, folder=run)

    def loss(logits: Tensor, wanted: Tensor, share: float) -> Tensor:
        return distillation_loss(logits, wanted, teacher_share=TEACHER_SHARE, temperature=TEMPERATURE)

    def targets(indices: Tensor, epoch: int) -> Tensor:
        mirrored = augment.mirrored(indices, epoch=epoch)
        return lessons(train.labels[indices], answers[indices], mirrored=mirrored, temperature=TEMPERATURE)

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
        checkpoint=checkpoint(run),
        targets=targets,
        after_epoch=after_epoch,
    )
    save_finished(network, run)


def checkpoint(run: Path) -> Path:
    """Where a run keeps its state. One with another loss or other views has another file, so it is not continued."""
    return run / f"checkpoint-{hashlib.sha256(describe().encode()).hexdigest()[:12]}.pt"


def describe() -> str:
    """The recipe in one sentence, for the model card."""
    return (
        f"{1 - TEACHER_SHARE} * cross-entropy + {TEACHER_SHARE} * T^2 * KL to the answers of {TEACHER} at T = "
        f"{TEMPERATURE}, on the whole picture or its mirror image at {TEACHER_SIZE} px, over these classes alone; "
        f"alternating flips, random crops of {CROP_AREA[0]:.0%} to {CROP_AREA[1]:.0%} of the area; epochs by size of "
        f"view: {augment.epochs_by_size(SIZES)}"
    )


def top(logits: Tensor, labels: Tensor, k: int) -> float:
    """Share of pictures whose label is among the k best classes, in per cent."""
    return (logits.topk(k).indices == labels[:, None]).any(1).float().mean().item() * 100


if __name__ == "__main__":
    main()
