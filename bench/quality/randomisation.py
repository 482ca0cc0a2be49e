"""Q8: whether a map depends on what the network has learnt (arXiv 1810.03292). With all weights drawn anew it must
no longer resemble the original, and its entropy should rise (2405.02383)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.figures import Figure, Statistic, estimate
from bench.quality.context import BATCH, SHIPPED, Context, Sizes, progress
from bench.quality.guided import guided_gradients
from worker.algebra import maps
from worker.engine.architectures import build
from worker.engine.models import Model
from worker.trust.correlation import spearman
from worker.trust.faithfulness import enlarged

Draw = Callable[[Model, Tensor, Tensor], Tensor]  # model, inputs N x 3 x S x S, targets N -> maps N x h x w

DEPENDS = 0.15  # largest |mean correlation| of a map that depends on the weights
BINS = 100  # of the histogram whose entropy is taken
SIDE = 64  # pixels on which entropies are taken


def cam(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    return maps.linear_maps(model.features(inputs), model.weight[targets])


def guided_backprop(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    return guided_gradients(model, inputs, targets.unsqueeze(1))[:, 0].abs().amax(1)


def edges(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    """A control that looks at the picture alone: the strength of its edges (Sobel)."""
    grey = inputs.mean(1, keepdim=True)
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    gradient = functional.conv2d(grey, torch.stack([sobel, sobel.T]).unsqueeze(1), padding=1)
    strength: Tensor = gradient.norm(dim=1)
    return strength


def randomisation(context: Context, n: Sizes) -> list[Figure]:
    """Q8, on both shipped models."""
    out = []
    for name in SHIPPED:
        held = context.held_out(name)
        inputs = held.inputs(range(min(n["pictures"], len(held))))
        targets = held.logits[: len(inputs)].argmax(1)
        few = slice(0, n["guided pictures"])
        twins = [fresh(held.model, seed=context.seed + seed) for seed in range(n["seeds"])]
        ours, rises = compare(cam, held.model, twins, inputs, targets)
        out += [
            _independence(name, ours, n["seeds"]),
            _entropy_rise(name, rises),
            _flagged("edge detector", name, compare(edges, held.model, twins, inputs[few], targets[few])[0]),
            _flagged(
                "Guided Backprop", name, compare(guided_backprop, held.model, twins, inputs[few], targets[few])[0]
            ),
        ]
    return out


def fresh(model: Model, *, seed: int) -> Model:
    """The same network with all weights drawn anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model.of(build(model.card.architecture, model.card.class_count), model.card)


def compare(
    draw: Draw, model: Model, twins: list[Model], inputs: Tensor, targets: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rank correlation of each picture's map with that of every random twin, and its relative rise in entropy:
    N x seeds each."""
    correlations, rises = [], []
    for x, target in progress(list(zip(inputs.split(BATCH), targets.split(BATCH), strict=True)), draw.__name__):
        original = draw(model, x, target)
        others = [draw(twin, x, target) for twin in twins]
        correlations.append(np.stack([rank_correlations(original, other) for other in others], 1))
        before = entropies(original)
        rises.append(np.stack([(entropies(other) - before) / np.maximum(before, 1e-12) for other in others], 1))
    return np.concatenate(correlations), np.concatenate(rises)


def rank_correlations(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Spearman's rho of N pairs of maps; 0 where a map is constant, for that resembles nothing."""
    return np.array([rho or 0.0 for rho in spearman(first, second)])


def entropies(raw: Tensor) -> NDArray[np.float64]:
    """Entropy in nats of the histogram of N maps' values, each enlarged to the same side."""
    out = []
    for values in enlarged(raw.double(), SIDE).flatten(1).numpy():
        share = np.histogram(values, BINS)[0] / values.size
        out.append(-(share[share > 0] * np.log(share[share > 0])).sum())
    return np.array(out)


def size_of_mean(samples: NDArray[np.float64]) -> float:
    return abs(float(samples.mean()))


def _correlation(title: str, samples: NDArray[np.float64], *, target: str, meaning: str) -> Figure:
    statistic: Statistic = size_of_mean
    controls = {"mean of sizes": float(np.abs(samples).mean())}
    return estimate(
        title, samples, unit="mean rho", statistic=statistic, target=target, controls=controls, meaning=meaning
    )


def _independence(name: str, samples: NDArray[np.float64], seeds: int) -> Figure:
    return _correlation(
        f"Q8 correlation with the maps of random networks, {name}",
        samples,
        target=f"<= {DEPENDS}",
        meaning=f"Size of the mean rank correlation of a map with that of the same network with random weights "
        f"({seeds} of them): near 0 where the map shows what was learnt.",
    )


def _entropy_rise(name: str, rises: NDArray[np.float64]) -> Figure:
    return estimate(
        f"Q8 entropy rise under random weights, {name}",
        rises,
        unit="relative",
        target="> 0 and low > 0",
        controls={"share of pictures with a rise": float((rises.mean(1) > 0).mean())},
        meaning="How much less structured the maps of random networks are; above 0 where learning gave them structure.",
    )


def _flagged(control: str, name: str, samples: NDArray[np.float64]) -> Figure:
    return _correlation(
        f"Q8 control flagged: {control}, {name}",
        samples,
        target=f"> {DEPENDS}",
        meaning="The control must fail the test above: its maps stay alike when everything learnt is gone.",
    )
