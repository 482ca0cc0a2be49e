"""Q15: the ImageNet network on full-size photographs: how often it is right, that it is the original network, and that
the maps of all its classes and nodes add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench.figures import Figure, estimate, share
from bench.quality import nodes
from bench.quality.context import BATCH, IMAGENET, SHIPPED, Context, Sizes, logits_of, progress
from bench.quality.exactness import PRECISION, last_convolution, residuals_of
from bench.quality.original import original_logits, relative_difference
from bench.quality.seen import BOUND, NO_MATTER, PUBLISHED
from worker.algebra.maps import TOLERANCE
from worker.algebra.score import Score
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.explain.predictions import TOP

SAME = 1e-4  # of the logits' range


def photographs(context: Context, n: Sizes) -> list[Figure]:
    """Q15."""
    model, count = context.model(IMAGENET), min(n["photographs"], len(context.photographs))
    answers = context.answers_to_photographs(IMAGENET)[:count]
    inputs = torch.cat(list(_inputs(context, model, min(n["photographs for maps"], count), "inputs")))
    features, groups = model.features(inputs), _groups(model)
    return [
        *_accuracy(logits_of(answers), context.photographs.labels[:count], seed=context.seed),
        _temperatures(context),
        _equality(model, inputs, model.logits(features)),
        *_exactness("class", features, lambda part, dtype: _worst_class(model, part, dtype)),
        *_exactness(
            "node",
            features[: n["photographs for nodes"]],
            lambda part, dtype: nodes.worst(part, model.weight, model.bias, groups, dtype=dtype),
        ),
        *_controls(model, inputs[: n["photographs for nodes"]], features[: n["photographs for nodes"]], groups),
    ]


def _inputs(context: Context, model: Model, count: int, description: str) -> Iterator[Tensor]:
    """Network inputs of the first photographs, in batches, made the way that a served image goes."""
    for first in progress(range(0, count, BATCH), f"{description}, {count} photographs"):
        yield to_tensors(context.photographs.photos(slice(first, min(first + BATCH, count))), model.card.input)


def _groups(model: Model) -> Score:
    assert model.card.hierarchy is not None, f"{model.card.name} ships without a tree"
    return nodes.all_groups(model.card.hierarchy)


def _accuracy(logits: Tensor, labels: Tensor, *, seed: int) -> list[Figure]:
    best = logits.topk(TOP).indices
    right = best == labels.unsqueeze(1)
    confidence = 100 * logits.softmax(1).amax(1)
    return [
        share(
            f"Q15 top-1, {IMAGENET}",
            right[:, 0].numpy(),
            target=">= 86",
            controls={"published, new images": PUBLISHED},
            meaning=f"Share of the photographs whose class is the network's first answer. {BOUND}",
        ),
        share(
            f"Q15 top-{TOP}, {IMAGENET}",
            right.any(1).numpy(),
            meaning=f"Share of the photographs whose class is among the network's first {TOP} answers. {BOUND}",
        ),
        estimate(
            f"Q15 mean confidence, {IMAGENET}",
            confidence.numpy(),
            unit="%",
            controls={"top-1": 100 * float(right[:, 0].double().mean())},
            seed=seed,
            meaning="Mean probability of the first answer. The network is less confident than it is right here. On new "
            f"images that need not be so, and therefore no temperature is fitted. {BOUND}",
        ),
    ]


def _temperatures(context: Context) -> Figure:
    """That none was fitted where nothing is held out."""
    cards = [context.registry.get(name) for name in (IMAGENET, *SHIPPED)]
    fitted = [card.name for card in cards if card.calibration is not None]
    return Figure(
        "Q15 temperatures fitted without held-out images",
        len(set(fitted) - set(SHIPPED)),
        n=len(cards),
        target="<= 0",
        controls={"fitted on held-out images": len(set(fitted) & set(SHIPPED))},
        meaning="Models whose card has a temperature although no held-out images of their classes are at hand.",
    )


def _equality(model: Model, inputs: Tensor, logits: Tensor) -> Figure:
    parts = progress(inputs.split(BATCH), f"the original network, {len(inputs)} photographs")
    original = torch.cat([original_logits(model.card, part) for part in parts])
    return Figure(
        f"Q15 largest difference to the original network, {IMAGENET}",
        float(relative_difference(logits, original).max()),
        "of the range",
        n=len(logits),
        target=f"<= {SAME:g}",
        controls={"same first answer, %": 100 * float((logits.argmax(1) == original.argmax(1)).double().mean())},
        meaning="No logit differs by more than this from that of efficientnet-lite-pytorch with the same weights, "
        f"relative to the range of the image's logits. {NO_MATTER}",
    )


def _exactness(kind: str, features: Tensor, worst: Callable[[Tensor, torch.dtype], float]) -> list[Figure]:
    """The largest residual in both precisions."""
    parts = features.split(BATCH)
    return [
        Figure(
            f"Q15 largest residual of a {kind} map, {precision}, {IMAGENET}",
            max(
                worst(part, dtype) for part in progress(parts, f"{kind} maps, {precision}, {len(features)} photographs")
            ),
            n=len(features),
            target=f"<= {TOLERANCE[dtype]:g}",
            meaning=_MEANINGS[kind],
        )
        for dtype, precision in PRECISION.items()
    ]


_MEANINGS = {
    "class": "Of the maps of all 1000 classes of every photograph, none misses its logit by more than this, relative "
    f"to the logit or 1. {NO_MATTER}",
    "node": "Of the maps of all nodes of the tree, classes and root included, none misses the log-sum-exp of the "
    f"logits below by more than this, relative to it or 1. {NO_MATTER}",
}


def _worst_class(model: Model, features: Tensor, dtype: torch.dtype) -> float:
    return float(residuals_of(features.to(dtype), model.weight.to(dtype), model.bias.to(dtype)).max())


def _controls(model: Model, inputs: Tensor, features: Tensor, groups: Score) -> list[Figure]:
    """The maps that must fail: of the last convolution's output, transposed, as in the original tutorial."""
    wrong = torch.cat([straight.transpose(2, 3) for straight, _ in last_convolution(model, inputs.split(BATCH))])
    logits = model.logits(features)
    head = model.weight, model.bias
    found = {
        "class": residuals_of(wrong, *head, logits=logits),
        "node": torch.stack(
            [
                nodes.residuals(one, *head, groups, mapped=other)
                for one, other in zip(features.split(1), wrong.split(1), strict=True)
            ]
        ),
    }
    return [
        estimate(
            f"Q15 tutorial's {kind} maps that fail the certificate, {IMAGENET}",
            (100 * (residual > TOLERANCE[torch.float32]).double().mean(1)).numpy(),
            unit="%",
            target=">= 99",
            controls={"median residual": float(residual.median())},
            meaning="The control that must fail: maps of the last convolution's output, as in the original tutorial, "
            f"do not add up. {NO_MATTER}",
        )
        for kind, residual in found.items()
    ]
