"""Q5: whether hiding what a map marks lowers the answer and showing only that brings it back, against other maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.figures import Figure, estimate, mean
from bench.quality.context import BATCH, CIFAR, PHOTOS, Context, HeldOut, Sizes, progress
from worker.algebra import maps
from worker.engine.models import Model
from worker.trust.faithfulness import (
    Areas,
    blurred,
    centre_blob,
    deletion_insertion,
    enlarged,
    mean_colour,
    noise,
    random_maps,
)

STEPS = 8
BASELINES: Mapping[str, Callable[[Tensor, int], Tensor]] = {  # what hides: 3 x S x S picture and a seed
    "blur": lambda picture, seed: blurred(picture),
    "mean colour": lambda picture, seed: mean_colour(picture),
    "noise": lambda picture, seed: noise(picture, seed=seed),
}
CAM, BLOB = 0, 1  # places of the maps
CONTROLS = ("random map", "own map, blurred", "hiding each cell")  # places 2 to 4, with the first baseline alone


def faithfulness(context: Context, n: Sizes) -> list[Figure]:
    """Q5, on the maps of the predicted class."""
    return [
        figure
        for name, count in ((PHOTOS, n["photos"]), (CIFAR, n["cifar pictures"]))
        for figure in _figures(context.held_out(name), count, seed=context.seed)
    ]


def _figures(held: HeldOut, count: int, *, seed: int) -> list[Figure]:
    model, features = held.model, held.features(count)
    areas: dict[str, list[Areas]] = {name: [] for name in BASELINES}
    for index in progress(range(len(features)), f"deletion and insertion, {model.card.name}"):
        target = int(held.logits[index].argmax())
        raw = maps.linear_maps(features[index : index + 1], model.weight[[target]])
        picture = held.inputs([index])[0]
        hidden = _hidden_cells(_probability(model, target), picture, raw.shape[-1])
        shown = _maps(raw, hidden, picture.shape[-1], seed=seed + index)
        for number, (name, hide) in enumerate(BASELINES.items()):
            areas[name].append(
                deletion_insertion(
                    _probability(model, target),
                    picture,
                    shown if number == 0 else shown[: BLOB + 1],
                    baseline=hide(picture, seed + index),
                    seed=seed + index,
                    watch=lambda done, total: None,
                    steps=STEPS,
                )
            )
    return [_lead(model.card.name, baseline, found) for baseline, found in areas.items()]


def _maps(raw: Tensor, hidden: Tensor, side: int, *, seed: int) -> Tensor:
    """The map of one picture and its controls, 5 x side x side."""
    own = enlarged(raw, side)
    controls = [random_maps(1, side, seed=seed), blurred(own), enlarged(hidden, side)]
    return torch.cat([own, centre_blob(side)[None], *controls])


def _hidden_cells(score: Callable[[Tensor], Tensor], picture: Tensor, grid: int) -> Tensor:
    """1 x grid x grid: by how much the answer falls when one cell of the picture is hidden."""
    cells = torch.eye(grid * grid).view(-1, 1, grid, grid)
    mask = functional.interpolate(cells, size=picture.shape[1:], mode="nearest")
    inputs = torch.where(mask > 0, blurred(picture), picture)
    scores = torch.cat([score(part) for part in inputs.split(BATCH)])
    return (score(picture[None]) - scores).view(1, grid, grid)


def _probability(model: Model, target: int) -> Callable[[Tensor], Tensor]:
    def score(inputs: Tensor) -> Tensor:
        return model.logits(model.features(inputs)).softmax(1)[:, target]

    return score


def _lead(name: str, baseline: str, found: list[Areas]) -> Figure:
    difference = torch.stack([areas.difference for areas in found])  # pictures x maps
    means = difference.mean(0).tolist()
    answer = mean(np.array([areas.whole for areas in found]))
    figure = estimate(
        f"Q5 lead over the centre blob, {baseline}, {name}",
        (difference[:, CAM] - difference[:, BLOB]).numpy(),
        unit="area",
        target=">= 0.1 and low > 0" if baseline == "blur" else "> 0 and low > 0",
        controls={
            "insertion": float(torch.stack([areas.insertion[CAM] for areas in found]).mean()),
            "deletion": float(torch.stack([areas.deletion[CAM] for areas in found]).mean()),
            "insertion - deletion": means[CAM],
            "whole picture": answer,
            "of the centre blob": means[BLOB],
            **{f"of the {control}": value for control, value in zip(CONTROLS, means[BLOB + 1 :], strict=False)},
        },
        meaning="Insertion minus deletion area of the map, less that of a plain blob in the middle: how much better "
        f"the map orders the picture by what moves the answer, where {baseline} hides.",
    )
    lead = means[CAM] - means[BLOB]
    return figure.explained(
        f"The areas are of the answer's probability, which on the whole pictures is {answer:.3f}: the lead of "
        f"{lead:.3f} is {lead / answer:.0%} of that. {_asked(difference)}"
    )


def _asked(difference: Tensor) -> str:
    """What the order found by hiding each cell leads by; `difference` is pictures x maps."""
    if difference.shape[1] <= BLOB + len(CONTROLS):
        return ""
    lead = float((difference[:, -1] - difference[:, BLOB]).mean())
    return f"The order found by hiding each cell in turn, asked of the network itself, leads by {lead:.3f}."
