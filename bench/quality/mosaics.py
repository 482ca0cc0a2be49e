"""Q7: the grid pointing game (arXiv 2105.06407). Of four pictures of different classes side by side, the map of each
class should lie on its own."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.figures import Figure, estimate
from bench.quality.context import SHIPPED, Context, HeldOut, Sizes, progress
from bench.quality.guided import guided_gradients
from worker.algebra import maps

BATCH = 10
CHANCE = 0.25
SUREST = 0.5  # share of the rightly classified pictures that are taken: the game is about pictures that it knows
CORNERS = 4  # numbered row by row


def grid_pointing(context: Context, n: Sizes) -> list[Figure]:
    """Q7, on both shipped models."""
    return [figure for name in SHIPPED for figure in _figures(context.held_out(name), n, context.generator())]


def _figures(held: HeldOut, n: Sizes, generator: torch.Generator) -> list[Figure]:
    name = held.model.card.name
    places = fours(held.logits, held.labels, count=n["mosaics"], generator=generator)
    if not len(places):
        return [Figure(f"Q7 grid pointing, {name}", None, reason="too few pictures are classified rightly")]
    guided_count = n["guided mosaics"]
    ours, theirs, apart = [], [], []
    for start in progress(range(0, len(places), BATCH), f"mosaics, {name}"):
        batch = places[start : start + BATCH]
        inputs, targets = _mosaics(held, batch), held.labels[batch]
        ours.append(right_shares(_class_maps(held, inputs, targets)))
        apart.append(right_shares(_maps_apart(held, batch, targets)))
        if start < guided_count:
            gradients = guided_gradients(held.model, inputs[: guided_count - start], targets[: guided_count - start])
            theirs.append(right_shares(gradients.sum(2)))
    cam, control, alone = torch.cat(ours), torch.cat(theirs), float(torch.cat(apart).mean())
    return [
        estimate(
            f"Q7 grid pointing, {name}",
            cam.numpy(),
            unit="share",
            target=">= 0.8",
            controls={"chance": CHANCE, "Guided Backprop": float(control.mean()), "pictures apart": alone},
            meaning="In a mosaic of four pictures, the share of the map's positive mass that lies on the picture of "
            "its class; 1 would be perfect. Pictures apart: of maps made of each picture by itself.",
        ).explained(
            f"Of maps made of each picture by itself, where nothing can be seen across a border, the share is "
            f"{alone:.3f}: {1 - alone:.3f} of the mass is evidence that the head counts for a class on pictures of "
            f"others (the maps are exact, Q1). Being side by side changes the share by {float(cam.mean()) - alone:.3f}."
        ),
        estimate(
            f"Q7 lead over Guided Backprop, {name}",
            (cam[: len(control)] - control).numpy(),
            unit="share",
            target="> 0 and low > 0",
            meaning="The same share less that of Guided Backprop, which nearly ignores the class, on the same mosaics.",
        ),
    ]


def fours(logits: Tensor, labels: Tensor, *, count: int, generator: torch.Generator) -> Tensor:
    """At most `count` x 4 picture numbers: different classes in each row, of the surest right answers."""
    confidence, predicted = logits.softmax(1).max(1)
    right = (predicted == labels).nonzero()[:, 0]
    sure = right[confidence[right].argsort(descending=True, stable=True)][: round(SUREST * len(right))]
    sure = sure[torch.randperm(len(sure), generator=generator)]
    rows: list[list[int]] = []
    open_rows: list[list[int]] = []
    for index in sure.tolist():
        if len(rows) == count:
            break
        row = next((row for row in open_rows if all(labels[other] != labels[index] for other in row)), None)
        if row is None:
            open_rows.append([index])
            continue
        row.append(index)
        if len(row) == CORNERS:
            rows.append(row)
            open_rows = [other for other in open_rows if other is not row]
    return torch.tensor(rows, dtype=torch.long).reshape(-1, CORNERS)


def right_shares(raw: Tensor) -> Tensor:
    """N x 4 x H x W, the map of the class in each corner -> N: the mean share of positive mass in the right corner."""
    positive = raw.double().clamp(min=0)
    rows, columns = raw.shape[2] // 2, raw.shape[3] // 2
    corners = positive.unfold(2, rows, rows).unfold(3, columns, columns)  # N x 4 x 2 x 2 x rows x columns
    mass = corners.sum((4, 5)).flatten(2)  # N x target x corner
    total = mass.sum(2)
    right = mass.diagonal(dim1=1, dim2=2)
    return torch.where(total > 0, right / total.clamp(min=1e-300), 0.0).mean(1)


def _mosaics(held: HeldOut, places: Tensor) -> Tensor:
    """Network inputs of four pictures each at the size they are served: N x 3 x 2S x 2S."""
    return _tiled(torch.stack([held.inputs(row) for row in places.tolist()]))


def _maps_apart(held: HeldOut, places: Tensor, targets: Tensor) -> Tensor:
    """The maps of the four classes on each picture by itself, laid out like a mosaic: N x 4 x 2h x 2w."""
    features = held.model.features(held.inputs(places.flatten().tolist())).unflatten(0, places.shape)
    return _tiled(torch.einsum("nkd,npdhw->npkhw", held.model.weight[targets], features))


def _tiled(parts: Tensor) -> Tensor:
    """N x 4 x C x h x w, the four corners row by row -> N x C x 2h x 2w."""
    top = torch.cat([parts[:, 0], parts[:, 1]], 3)
    bottom = torch.cat([parts[:, 2], parts[:, 3]], 3)
    return torch.cat([top, bottom], 2)


def _class_maps(held: HeldOut, inputs: Tensor, targets: Tensor) -> Tensor:
    features = held.model.features(inputs)
    chosen = [maps.linear_maps(features, held.model.weight[targets[:, corner]]) for corner in range(CORNERS)]
    return torch.stack(chosen, 1)
