"""Q11: whether the map of "why this and not that" marks what separates the two classes better than the plain map does
(after Finer-CAM, arXiv 2501.11309)."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.figures import Figure, estimate, ratio_of_means
from bench.quality.context import BATCH, SHIPPED, Context, HeldOut, Sizes, progress
from worker.algebra import maps
from worker.engine.models import Model
from worker.trust.faithfulness import blurred, enlarged

MASKED = 0.05  # share of the pixels, the highest of the enlarged map


def contrast(context: Context, n: Sizes) -> list[Figure]:
    """Q11, on the pictures whose two best classes are nearest to each other."""
    return [_figure(context.held_out(name), n["pictures"]) for name in SHIPPED]


def _figure(held: HeldOut, count: int) -> Figure:
    best = held.logits.softmax(1).topk(2)
    confusable = (best.values[:, 0] - best.values[:, 1]).argsort(stable=True)[:count]
    drops = [
        _drops(held.model, held.inputs(indices.tolist()), best.indices[indices])
        for indices in progress(confusable.split(BATCH), f"masked pictures, {held.model.card.name}")
    ]
    found = torch.cat(drops)
    return estimate(
        f"Q11 value of the contrast map, {held.model.card.name}",
        found.numpy(),
        unit="x",
        statistic=ratio_of_means,
        target=">= 1.2 and low > 1",
        controls={"drop by the contrast map": float(found[:, 0].mean()), "by the plain map": float(found[:, 1].mean())},
        meaning=f"Blurring the highest {MASKED:.0%} of the contrast map lowers the confidence in the class against its "
        "runner-up so many times as much as blurring that of the plain map.",
    )


def _drops(model: Model, inputs: Tensor, pair: Tensor) -> Tensor:
    """How much the confidence in the first class against the second falls when the highest part of the contrast map,
    and of the plain map, is blurred: N x 2. `pair` holds N x 2 classes."""
    features = model.features(inputs)
    first, second = model.weight[pair[:, 0]], model.weight[pair[:, 1]]
    before = _confidence(model.logits(features), pair)
    hidden = torch.stack([blurred(picture) for picture in inputs])
    drops = []
    for rows in (first - second, first):
        mask = top_pixels(enlarged(maps.linear_maps(features, rows), inputs.shape[-1])).unsqueeze(1)
        masked = torch.where(mask, hidden, inputs)
        drops.append(before - _confidence(model.logits(model.features(masked)), pair))
    return torch.stack(drops, 1)


def top_pixels(raw: Tensor) -> Tensor:
    """N x S x S, true at the highest MASKED of the pixels of each map."""
    flat = raw.flatten(1)
    top = flat.topk(round(MASKED * flat.shape[1])).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter(1, top, True).view_as(raw)


def _confidence(logits: Tensor, pair: Tensor) -> Tensor:
    """Probability of the first of two classes if only they could be: N."""
    two = logits.gather(1, pair).double()
    return (two[:, 0] - two[:, 1]).sigmoid()
