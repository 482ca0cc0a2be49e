"""The training loop that all models share: seeded, resumable after every epoch, bf16, one-cycle SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Generator, Tensor, nn

from shared.files import replacing
from training.muon import Muon
from worker.engine.precision import computes_bf16

FINISHED = "finished.pt"  # in a run's folder, what it ends with
Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits N x K, targets N x ..., share of training done -> scalar
Targets = Callable[[Tensor, int], Tensor]  # indices N, epoch -> what the loss compares with, N x ...
View = Callable[[Tensor, Tensor, int, Generator], Tensor]  # normalised batch, indices, epoch, rng -> network input


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Rates are for mean-reduced losses at this batch size."""

    epochs: int
    batch: int
    peak_rate: float
    weight_decay: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    momentum: float = 0.9
    warm_up: float = 0.2  # share of all steps in which the rate rises to its peak
    norm_bias_rate: float = 1.0  # rate of batch-norm biases relative to the others
    filter_rate: float | None = None  # where given, convolutions are trained by Muon, from this rate down to 0
    filter_momentum: float = 0.6
    chunk: int | None = None  # pictures in one pass (its batch norm sees these); None: the whole batch
    seed: int = 0

    def rate(self, share: float) -> float:
        """Learning rate after `share` (0..1) of the training: up to the peak, then down to 1 % of it, linearly."""
        if share < self.warm_up:
            return self.peak_rate * (0.1 + 0.9 * share / self.warm_up)
        return self.peak_rate * max(0.01, (1 - share) / (1 - self.warm_up))


def device() -> torch.device:
    """The first CUDA device where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def normalise(images: Tensor, recipe: Recipe) -> Tensor:
    """uint8 N x 3 x H x W to the network's float range."""
    mean = torch.tensor(recipe.mean).view(3, 1, 1)
    std = torch.tensor(recipe.std).view(3, 1, 1)
    return (images.float() / 255 - mean) / std


def fit(
    network: nn.Module,
    recipe: Recipe,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss,
    view: View,
    checkpoint: Path,
    targets: Targets | None = None,
    after_epoch: Callable[[int], str] | None = None,
    enough: Callable[[int], bool] = lambda epochs: False,
) -> None:
    """Train `network` in place. Picks up at `checkpoint` where there is one and writes it after every epoch.

    The loss compares with the labels, or with `targets` where given.
    `after_epoch` is told the number of epochs that are done, before the checkpoint has them, and says what it found.
    Training ends early where that number is `enough`.
    """
    target = device()
    network.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizers = _optimizers(network, recipe)
    bf16 = computes_bf16(target)
    first = _resume(checkpoint, network, optimizers, recipe)
    steps = len(labels) // recipe.batch
    with _progress() as progress:
        for epoch in range(first, recipe.epochs):
            if enough(epoch):
                break
            bar = progress.add_task(f"epoch {epoch + 1}/{recipe.epochs}", total=steps)
            network.train()
            torch.manual_seed(_epoch_seed(recipe, epoch))  # of dropout: a resumed run drops the same
            mean_loss = 0.0
            for step, (batch, indices, rng) in enumerate(_batches(images, recipe, steps, epoch)):
                share = (epoch * steps + step) / (recipe.epochs * steps)
                _set_rates(optimizers, recipe, share)
                x = view(batch, indices, epoch, rng)
                wanted = targets(indices, epoch) if targets else labels[indices]
                chunk = recipe.chunk or len(x)
                batch_loss = 0.0
                for part, known in zip(x.split(chunk), wanted.split(chunk), strict=True):
                    seen = part.to(target).contiguous(memory_format=torch.channels_last)
                    with torch.autocast(target.type, torch.bfloat16, enabled=bf16):
                        logits = network(seen)
                    value = loss(logits.float(), known.to(target), share) * (len(part) / len(x))
                    value.backward()
                    batch_loss += value.item()
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                mean_loss += (batch_loss - mean_loss) / (step + 1)
                progress.advance(bar)
            report = after_epoch(epoch + 1) if after_epoch else ""
            _save(checkpoint, network, optimizers, recipe, epoch + 1)
            progress.console.print(f"epoch {epoch + 1}: loss {mean_loss:.4f} {report}", highlight=False)
            progress.remove_task(bar)


@torch.no_grad()
def estimate_norms(network: nn.Module, images: Tensor, recipe: Recipe, *, count: int, chunk: int = 250) -> None:
    """Replace the running statistics of all batch norms by those of `count` whole training pictures, drawn by the seed.

    Running statistics follow the last few chunks only; plain means over many serve better (arXiv 2105.07576).
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all that follows
    network.train()
    target = device()
    chosen = torch.randperm(len(images), generator=Generator().manual_seed(recipe.seed))[:count]
    for part in images[chosen].split(chunk):
        network(normalise(part, recipe).to(target).contiguous(memory_format=torch.channels_last))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def save_finished(network: nn.Module, run: Path) -> None:
    """Put the weights to be published into the run's folder."""
    torch.save(network.state_dict(), run / FINISHED)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, recipe: Recipe, *, size: int, batch: int = 250) -> Tensor:
    """fp32 logits (N x K) of whole pictures enlarged to `size` as they are when served."""
    network.eval()
    target = device()
    logits = []
    for chunk in images.split(batch):
        x = normalise(chunk, recipe)
        if x.shape[-1] != size:
            x = nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        logits.append(network(x.to(target).contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(logits)


def _optimizers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """SGD, and Muon for the convolutions where the recipe asks for it."""
    trained = [p for p in network.parameters() if p.requires_grad]
    filters = [p for p in trained if p.ndim == 4 and recipe.filter_rate is not None]
    norm_biases = [m.bias for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    listed = {id(p) for p in [*filters, *norm_biases]}
    matrices = [p for p in trained if p.ndim > 1 and id(p) not in listed]
    others = [p for p in trained if p.ndim == 1 and id(p) not in listed]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay, "relative_rate": 1.0},
        {"params": norm_biases, "weight_decay": 0.0, "relative_rate": recipe.norm_bias_rate},
        {"params": others, "weight_decay": 0.0, "relative_rate": 1.0},
    ]
    sgd = torch.optim.SGD(groups, lr=recipe.peak_rate, momentum=recipe.momentum, nesterov=True, foreach=True)
    if recipe.filter_rate is None:
        return [sgd]
    return [sgd, Muon(filters, lr=recipe.filter_rate, momentum=recipe.filter_momentum)]


def _set_rates(optimizers: list[torch.optim.Optimizer], recipe: Recipe, share: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(optimizer, Muon):
                group["lr"] = (recipe.filter_rate or 0.0) * (1 - share)
            else:
                group["lr"] = recipe.rate(share) * group["relative_rate"]


def _batches(images: Tensor, recipe: Recipe, steps: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, Generator]]:
    """One epoch's batches. The generator depends on seed and epoch alone, so that a resumed run draws the same."""
    rng = Generator().manual_seed(_epoch_seed(recipe, epoch))
    order = torch.randperm(len(images), generator=rng)
    for step in range(steps):
        indices = order[step * recipe.batch : (step + 1) * recipe.batch]
        yield normalise(images[indices], recipe), indices, rng


def _epoch_seed(recipe: Recipe, epoch: int) -> int:
    return recipe.seed * 10_000 + epoch


def _resume(checkpoint: Path, network: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True, map_location=device())
    if state["recipe"] != repr(recipe):
        raise SystemExit(f"{checkpoint} belongs to another recipe; move it away to start anew")
    network.load_state_dict(state["network"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["epoch"])


def _save(
    checkpoint: Path, network: nn.Module, optimizers: list[torch.optim.Optimizer], recipe: Recipe, epoch: int
) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    states = [optimizer.state_dict() for optimizer in optimizers]
    state = {"network": network.state_dict(), "optimizers": states, "epoch": epoch}
    with replacing(checkpoint) as partial:
        torch.save(state | {"recipe": repr(recipe)}, partial)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )
