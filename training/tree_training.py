"""Fine-tuning of a trained network on a tree over its classes; every finished epoch is kept in the run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from shared.cards.card import InputSpec
from shared.errors import InvalidOption
from shared.files import replacing
from training import augment
from training.fit import Recipe, device, fit, predict
from training.half_precision import write_in_half_precision
from training.pictures import Pictures
from training.supervision import accuracies, tree_supervised_loss
from worker.algebra.tree import TreeMatrices

CROP_AREA = (0.5, 1.0)  # of the picture, in views for training


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is fine-tuned. `patience` is how many epochs may bring nothing better before training ends."""

    recipe: Recipe
    tree_share: float  # of the tree's term in the loss, 0 to 1
    patience: int

    def describe(self) -> str:
        """The recipe in one sentence, for the model card."""
        recipe = self.recipe
        return (
            f"fine-tuned with (1 - w) * cross-entropy + w * -log p_tree(label), w = {self.tree_share}; at most "
            f"{recipe.epochs} epochs in batches of {recipe.batch} by SGD with a peak rate of {recipe.peak_rate}, "
            f"ended after {self.patience} without a lower loss on the validation part, "
            "whose best epoch was taken, or the start where none was better; "
            f"alternating flips, random crops of {CROP_AREA[0]:.0%} to {CROP_AREA[1]:.0%} of the area; "
            f"seed {recipe.seed}"
        )


@dataclass(frozen=True)
class Trained:
    """What a training came to. Accuracies are those of the test part, in per cent."""

    best_epoch: int
    before: Mapping[str, float]
    after: Mapping[str, float]


def train_on_tree(
    network: nn.Module,
    spec: InputSpec,
    matrices: TreeMatrices,
    plan: TrainingPlan,
    parts: Mapping[str, Pictures],
    *,
    run: Path,
    weights: Path,
) -> Trained:
    """Fine-tune the network in place, and write the best epoch's weights to the file `weights`, in half precision.

    The same call goes on in the folder `run` where an interrupted one had its last finished epoch, and ends with the
    same weights. `parts` are train, validation and test. Raises InvalidOption where the loss becomes infinite.
    """
    matrices = matrices.to(device=device())
    network.to(device())
    before = _accuracies(network, parts["test"], matrices, plan.recipe, spec)

    def loss(logits: Tensor, labels: Tensor, done: float) -> Tensor:
        return tree_supervised_loss(logits, labels, matrices, tree_share=plan.tree_share)

    def view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        return augment.crop_and_resize(flipped, size=spec.size, area=CROP_AREA, generator=rng)

    def validate() -> float:
        logits = predict(network, parts["validation"].images, plan.recipe, size=spec.size).to(device())
        return loss(logits, parts["validation"].labels.to(device()), 1.0).item()

    if not (run / "best.pt").exists():  # the start is a candidate, so that what comes of it has no higher loss
        _Best(0, validate(), network.state_dict()).save(run / "best.pt")
    best = _Best.load(run / "best.pt")

    def after_epoch(epoch: int) -> str:
        nonlocal best
        value = validate()
        if not math.isfinite(value):
            raise InvalidOption(f"after epoch {epoch} the loss is not finite; give a lower --rate, and --force")
        if value < best.loss:
            best = _Best(epoch, value, network.state_dict())
            best.save(run / "best.pt")
        return f"validation {value:.4f}, best of epoch {best.epoch}"

    fit(
        network,
        plan.recipe,
        parts["train"].images,
        parts["train"].labels,
        loss=loss,
        view=view,
        checkpoint=run / "checkpoint.pt",
        after_epoch=after_epoch,
        enough=lambda epochs: epochs - best.epoch >= plan.patience,
    )
    best = _Best.load(run / "best.pt")
    network.load_state_dict(best.state)
    write_in_half_precision(network, weights)
    return Trained(best.epoch, before, _accuracies(network, parts["test"], matrices, plan.recipe, spec))


@dataclass(frozen=True)
class _Best:
    """The weights of the epoch with the lowest loss on the validation part; epoch 0 is the start."""

    epoch: int
    loss: float
    state: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> _Best:
        return cls(**torch.load(path, weights_only=True, map_location=device()))

    def save(self, path: Path) -> None:
        with replacing(path) as partial:
            torch.save({"epoch": self.epoch, "loss": self.loss, "state": self.state}, partial)


def _accuracies(
    network: nn.Module, pictures: Pictures, matrices: TreeMatrices, recipe: Recipe, spec: InputSpec
) -> dict[str, float]:
    return accuracies(predict(network, pictures.images, recipe, size=spec.size), pictures.labels, matrices)
