"""Train `nbdt-cifar10`: a residual network on CIFAR-10, tree-supervised on nbdt's induced hierarchy.

    python -m training.cifar10

Tree supervision adds -log p_tree(label) to the cross-entropy (not nbdt's cross-entropy of probabilities, whose
floor is log(e + K - 1) - 1).
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from shared.hierarchy import Hierarchy
from training import augment
from training.fit import Recipe, device, estimate_norms, fit, normalise, predict, save_finished
from training.pictures import ARCHIVES, cifar10
from worker.networks import CifarResNet, whitening_filters
from worker.tree import TreeMatrices, TreeMode, infer, soft_leaf_log_p

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
LABEL_SMOOTHING = 0.1
TREE_SHARE = 0.6  # of -log p_tree in the loss at the end of training; it rises from 0
SHIFT_PIXELS = 2
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

    def loss(logits: Tensor, labels: Tensor, share: float) -> Tensor:
        plain = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        tree_loss = functional.nll_loss(soft_leaf_log_p(logits, matrices), labels)
        return torch.lerp(plain, tree_loss, TREE_SHARE * share)

    def view(pictures: Tensor, indices: Tensor, epoch: int, rng: Generator) -> Tensor:
        flipped = augment.alternating_flip(pictures, indices, epoch=epoch)
        shifted = augment.shift(flipped, pixels=SHIFT_PIXELS, generator=rng)
        return augment.shrink(shifted, size=SIZES[epoch])

    def after_epoch(epoch: int) -> str:
        if epoch % 4 and epoch != RECIPE.epochs:
            return ""
        return str(accuracies(predict(network, test.images, RECIPE, size=32), test.labels, matrices))

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
    estimate_norms(network, train.images, RECIPE, count=NORM_PICTURES)
    save_finished(network, run)
    click.echo(f"finished: {accuracies(predict(network, test.images, RECIPE, size=32), test.labels, matrices)}")


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
        f"(1 - w) * cross-entropy (label smoothing {LABEL_SMOOTHING}) + w * -log p_tree(label), "
        f"w rising to {TREE_SHARE}; alternating flips, shifts up to {SHIFT_PIXELS} px, a fixed whitening stem, "
        f"batch-norm scales held at one; epochs by size of view: {augment.epochs_by_size(SIZES)}; "
        f"convolutions by Muon; batch-norm statistics of {NORM_PICTURES} whole pictures at the end"
    )


def accuracies(logits: Tensor, labels: Tensor, matrices: TreeMatrices) -> dict[str, float]:
    """Share of right answers of the network and of the tree in each mode, in per cent."""
    answers = {"network": logits.argmax(1)}
    on_host = matrices.to(device=logits.device)
    for mode in TreeMode:
        answers[mode.value] = infer(logits, on_host, mode=mode).prediction
    return {name: round((answer == labels).float().mean().item() * 100, 2) for name, answer in answers.items()}


if __name__ == "__main__":
    main()
