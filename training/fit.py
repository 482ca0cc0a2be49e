"""The training loop both shipped models share: seeded, resumable after every epoch, bf16, one-cycle SGD."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Generator, Tensor, nn

Loss = Callable[[Tensor, Tensor, float], Tensor]  # logits N x K, labels N, share of training done -> scalar
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
    seed: int = 0

    def rate(self, share: float) -> float:
        """Learning rate after `share` (0..1) of the training: up to the peak, then down to 1 % of it, linearly."""
        if share < self.warm_up:
            return self.peak_rate * (0.1 + 0.9 * share / self.warm_up)
        return self.peak_rate * max(0.01, (1 - share) / (1 - self.warm_up))


def device() -> torch.device:
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
    after_epoch: Callable[[int], str] | None = None,
) -> None:
    """Train `network` in place. Picks up at `checkpoint` where there is one and writes it after every epoch."""
    target = device()
    network.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimizer = torch.optim.SGD(
        _groups(network, recipe), lr=recipe.peak_rate, momentum=recipe.momentum, nesterov=True, foreach=True
    )
    first = _resume(checkpoint, network, optimizer, recipe)
    steps = len(labels) // recipe.batch
    with _progress() as progress:
        for epoch in range(first, recipe.epochs):
            bar = progress.add_task(f"epoch {epoch + 1}/{recipe.epochs}", total=steps)
            network.train()
            mean_loss = 0.0
            for step, (batch, indices, rng) in enumerate(_batches(images, recipe, steps, epoch)):
                share = (epoch * steps + step) / (recipe.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate(share) * group["relative_rate"]
                x = view(batch, indices, epoch, rng).to(target).contiguous(memory_format=torch.channels_last)
                with torch.autocast(target.type, torch.bfloat16):
                    logits = network(x)
                value = loss(logits.float(), labels[indices].to(target), share)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                optimizer.step()
                mean_loss += (value.item() - mean_loss) / (step + 1)
                progress.advance(bar)
            _save(checkpoint, network, optimizer, recipe, epoch + 1)
            report = after_epoch(epoch + 1) if after_epoch else ""
            progress.console.print(f"epoch {epoch + 1}: loss {mean_loss:.4f} {report}", highlight=False)
            progress.remove_task(bar)


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


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    norm_biases = [m.bias for m in norms]
    listed = {id(p) for p in [*matrices, *norm_biases]}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in listed]
    return [
        {"params": matrices, "weight_decay": recipe.weight_decay, "relative_rate": 1.0},
        {"params": norm_biases, "weight_decay": 0.0, "relative_rate": recipe.norm_bias_rate},
        {"params": others, "weight_decay": 0.0, "relative_rate": 1.0},
    ]


def _batches(images: Tensor, recipe: Recipe, steps: int, epoch: int) -> Iterator[tuple[Tensor, Tensor, Generator]]:
    """One epoch's batches. The generator depends on seed and epoch alone, so that a resumed run draws the same."""
    rng = Generator().manual_seed(recipe.seed * 10_000 + epoch)
    order = torch.randperm(len(images), generator=rng)
    for step in range(steps):
        indices = order[step * recipe.batch : (step + 1) * recipe.batch]
        yield normalise(images[indices], recipe), indices, rng


def _resume(checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> int:
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True, map_location=device())
    if state["recipe"] != repr(recipe):
        raise SystemExit(f"{checkpoint} belongs to another recipe; move it away to start anew")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def _save(checkpoint: Path, network: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".partial")
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state | {"recipe": repr(recipe)}, partial)
    os.replace(partial, checkpoint)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )
