"""Q9: whether a map survives changes that no one would notice, and whether the warning says which does not."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor

from bench.figures import Figure, estimate, median
from bench.quality.context import BATCH, CIFAR, PHOTOS, SHIPPED, Context, HeldOut, Sizes, progress
from shared.answer.maps import Stability
from worker.algebra import maps
from worker.engine.inputs import to_tensor
from worker.trust.correlation import spearman
from worker.trust.stability import UNSTABLE, stability

JPEG_QUALITY = 50  # of the change that the warning has not seen
CHANGES = {"noise": ">= 0.95", "shift": ">= 0.9", "flip": None}
TARGET_AUC = 0.75


def robustness(context: Context, n: Sizes) -> list[Figure]:
    """Q9, on the maps of the predicted class."""
    sizes = {CIFAR: n["cifar pictures"], PHOTOS: n["photos"]}
    return [figure for name in SHIPPED for figure in _figures(context.held_out(name), sizes[name], seed=context.seed)]


def _figures(held: HeldOut, count: int, *, seed: int) -> list[Figure]:
    name, features = held.model.card.name, held.features(count)
    targets = held.logits[: len(features)].argmax(1)
    found: list[Stability] = []
    unseen: list[float | None] = []
    for indices in progress(torch.arange(len(features)).split(BATCH), f"changed pictures, {name}"):
        rows = held.model.weight[targets[indices]]

        def maps_of(inputs: Tensor, rows: Tensor = rows) -> Tensor:
            return maps.linear_maps(held.model.features(inputs), rows)

        raw, std = maps.linear_maps(features[indices], rows), held.model.card.input.std
        found += stability(maps_of, held.inputs(indices.tolist()), raw, std=std, seed=seed)
        compressed = [to_tensor(_compressed(held.picture(i)), held.model.card.input) for i in indices.tolist()]
        unseen += spearman(raw, maps_of(torch.stack(compressed)))
    out = [
        estimate(
            f"Q9 rank correlation under {change}, {name}",
            [value for one in found if (value := getattr(one, change)) is not None],
            unit="median rho",
            statistic=median,
            target=target,
            meaning=f"How well a map keeps the order of its cells under {change} (1: the same order).",
        )
        for change, target in CHANGES.items()
    ]
    return [*out, _warning(name, found, unseen)]


def _compressed(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer).convert("RGB")


def _warning(name: str, found: list[Stability], unseen: list[float | None]) -> Figure:
    pairs = [
        (one.lowest, float(rho < UNSTABLE))
        for one, rho in zip(found, unseen, strict=True)
        if one.lowest is not None and rho is not None
    ]
    title = f"Q9 the warning foretells unstable maps, {name}"
    samples = np.array(pairs).reshape(-1, 2)
    unstable = samples[:, 1].sum()
    if not 0 < unstable < len(samples):
        return Figure(title, None, reason=f"{unstable:.0f} of {len(samples)} maps change under compression")
    figure = estimate(
        title,
        samples,
        unit="AUC",
        statistic=foretelling,
        target=f">= {TARGET_AUC}",
        controls={"chance": 0.5, "unstable maps": float(unstable)},
        meaning="How well the lowest of the three correlations above foretells a map that falls below "
        f"{UNSTABLE} under a change it has not seen, JPEG compression at quality {JPEG_QUALITY}.",
    )
    return figure.explained(
        f"Only {unstable:.0f} of {len(samples):,} maps fall below {UNSTABLE} under compression, so the area is known "
        f"no better than {figure.low:.2f} to {figure.high:.2f}."
    )


def foretelling(samples: NDArray[np.float64]) -> float:
    """Area under the ROC curve of (lowest correlation, unstable) pairs; NaN where all are alike."""
    if samples[:, 1].min() == samples[:, 1].max():
        return float("nan")
    return float(roc_auc_score(samples[:, 1], -samples[:, 0]))
