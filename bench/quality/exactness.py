"""Q1 and Q2: the identity mean(map) + constant = score, for every class and for every decision of the trees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.figures import Figure, estimate
from bench.quality.context import BATCH, SHIPPED, Context, HeldOut, Sizes, progress
from worker.algebra import maps
from worker.algebra.decisions import TreeHead, decision_maps
from worker.algebra.maps import TOLERANCE
from worker.algebra.tree import TreeMatrices, TreeMode, infer
from worker.engine.architectures import build
from worker.engine.models import Model
from worker.engine.weights import load_weights

PRECISION = {torch.float32: "fp32", torch.float64: "fp64"}


def classes(context: Context, n: Sizes) -> list[Figure]:
    """Q1: the maps of all classes."""
    out = []
    for name in SHIPPED:
        held = context.held_out(name)
        features = held.features(n["pictures"])
        for dtype, precision in PRECISION.items():
            worst = max(
                float(residuals_of(part.to(dtype), held.model.weight.to(dtype), held.model.bias.to(dtype)).max())
                for part in features.split(BATCH)
            )
            out.append(
                Figure(
                    f"Q1 largest residual, {precision}, {name}",
                    worst,
                    n=len(features),
                    target=f"<= {TOLERANCE[dtype]:g}",
                    meaning=f"Of all {len(held.model.bias)} class maps of every picture, none misses its logit by more "
                    "than this, relative to the logit or 1.",
                )
            )
        out.append(_tutorial_map(held, n["pictures"]))
    return out


def residuals_of(features: Tensor, weight: Tensor, bias: Tensor, *, logits: Tensor | None = None) -> Tensor:
    """N x K, relative to max(1, |logit|); the check itself in double precision."""
    logits = maps.logits_of(features, weight, bias) if logits is None else logits
    difference = maps.class_maps(features, weight).double().mean((2, 3)) + bias.double() - logits.double()
    return difference.abs() / logits.double().abs().clamp(min=1)


def _tutorial_map(held: HeldOut, count: int) -> Figure:
    """The negative control."""
    indices = progress(torch.arange(min(count, len(held))).split(BATCH), f"tutorial's map, {held.model.card.name}")
    residual = tutorial_residuals(held.model, (held.inputs(some.tolist()) for some in indices))
    missed = (residual > TOLERANCE[torch.float32]).double().mean(1) * 100
    return estimate(
        f"Q1 tutorial's maps that fail the certificate, {held.model.card.name}",
        missed.numpy(),
        unit="%",
        target=">= 99",
        controls={"median residual": float(residual.median())},
        meaning="The control that must fail: maps of the last convolution's output, as in the original tutorial, "
        "do not add up to the logits.",
    )


def tutorial_residuals(model: Model, batches: Iterable[Tensor]) -> Tensor:
    """N x K, of the maps that must fail: those of the last convolution's output, transposed."""
    residuals = [
        residuals_of(straight.transpose(2, 3), model.weight, model.bias, logits=logits)
        for straight, logits in last_convolution(model, batches)
    ]
    return torch.cat(residuals)


def last_convolution(model: Model, batches: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The output of the last convolution, before batch norm, addition and ReLU, and the logits, of each batch."""
    network = build(model.card.architecture, model.card.class_count).eval()  # as it is trained: nothing is folded
    load_weights(network, model.card)
    convolution = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    seen: list[Tensor] = []
    convolution.register_forward_hook(lambda module, inputs, output: seen.append(output))
    for inputs in batches:
        seen.clear()
        with torch.inference_mode():
            logits = network(inputs)
        yield seen[0][: len(logits)], logits  # a trunk that averages over mirror images passes those on behind


def decisions(context: Context, n: Sizes) -> list[Figure]:
    """Q2: the maps of all decisions, each child against its strongest sibling."""
    out = []
    for name in SHIPPED:
        held = context.held_out(name)
        tree = held.model.card.hierarchy
        assert tree is not None, f"{name} ships without a tree"
        features = held.features(n["pictures"])
        matrices = TreeMatrices.of(tree)
        out += _decision_figures(name, features, held.model.weight, held.model.bias, matrices)
    return out + _imagenet(context, n)


def _imagenet(context: Context, n: Sizes) -> list[Figure]:
    """ImageNet's tree. Its network may not be at hand, and the identity holds for any head: here a random one."""
    tree = context.registry.get("resnet18-imagenet").hierarchy
    assert tree is not None, "resnet18-imagenet ships without a tree"
    features = context.held_out(SHIPPED[1]).features(n["imagenet pictures"])
    shape = (tree.class_count, features.shape[1])
    weight = torch.randn(shape, generator=context.generator()) / shape[1] ** 0.5
    bias = torch.randn(tree.class_count, generator=context.generator())
    return _decision_figures("ImageNet's tree with a random head", features, weight, bias, TreeMatrices.of(tree))


def _decision_figures(
    name: str, features: Tensor, weight: Tensor, bias: Tensor, matrices: TreeMatrices
) -> list[Figure]:
    out = []
    for dtype, precision in PRECISION.items():
        head = (weight.to(dtype), bias.to(dtype))
        exact = matrices.to(dtype=dtype)
        probability = 0.0
        for mode in (TreeMode.SOFT, TreeMode.MARGINAL):
            residual = 0.0
            for picture in progress(features.split(1), f"decisions of {name}, {mode}, {precision}"):
                worst = _worst_decision(picture.to(dtype), *head, exact, mode)
                residual, probability = max(residual, worst[0]), max(probability, worst[1])
            out.append(
                Figure(
                    f"Q2 largest residual, {'mean' if mode is TreeMode.SOFT else mode}, {precision}, {name}",
                    residual,
                    n=len(features),
                    target=f"<= {TOLERANCE[dtype]:g}",
                    meaning=f"At all {len(matrices.children)} decisions, the map of every child against its strongest "
                    "sibling adds up to the difference of their scores, within this.",
                )
            )
        out.append(
            Figure(
                f"Q2 largest error of a served probability, {precision}, {name}",
                probability,
                n=len(features),
                target=f"<= {TOLERANCE[dtype]:g}",
                meaning="At every decision between two children, the sigmoid of the map's sum is the probability.",
            )
        )
    return out


def _worst_decision(
    features: Tensor, weight: Tensor, bias: Tensor, matrices: TreeMatrices, mode: TreeMode
) -> tuple[float, float]:
    """Largest residual, and largest error of a probability where two children compete, over a tree and one picture.

    Every class is taken as if it were the answer, so that the paths together visit every edge.
    """
    count = len(bias)
    logits = maps.logits_of(features, weight, bias)
    inference = infer(logits, matrices, mode=mode)
    everywhere = replace(
        inference,
        scores=inference.scores.expand(count, -1),
        prediction=torch.arange(count),
    )
    head = TreeHead.of(weight, bias, matrices)
    found = decision_maps(features.expand(count, -1, -1, -1), logits.expand(count, -1), head, matrices, everywhere)
    sums = found.maps.double().mean((2, 3)) + found.constants.double()
    margins = found.margins.double()
    decided = found.rivals != found.edges
    residual = ((sums - margins).abs() / margins.abs().clamp(min=1))[decided]
    edges = found.edges.clamp(max=matrices.no_edge - 1)
    children = torch.bincount(matrices.decision)[matrices.decision[edges]]
    binary = decided & (children == 2)
    served = inference.edge_log_p[0].double().exp()[edges]
    error = (sums.sigmoid() - served).abs()[binary]
    return float(residual.max()), float(error.max()) if len(error) else 0.0
