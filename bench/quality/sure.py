"""Q16: how often the sure answer is right, against how much it says, and against the search of "Hedging your bets"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.figures import Figure, bootstrap, estimate, mean, share
from bench.quality import hedging
from bench.quality.context import IMAGENET, SHIPPED, Context, Sizes, logits_of
from bench.quality.seen import BOUND
from shared.cards.card import ModelCard
from training.verdicts import CANDIDATES
from worker.algebra.tree import TreeMatrices
from worker.explain.sure import node_probabilities, sure_nodes

CURVE = (0.51, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
RIGHT = ">= 95"
SINGLE = {IMAGENET: ">= 60"}


@dataclass(frozen=True)
class Answered:
    """The sure answers to N images."""

    right: NDArray[np.bool_]  # N; the root is always right
    single: NDArray[np.bool_]  # N, whether the answer is a single class
    root: NDArray[np.bool_]  # N, whether the model vouches for nothing
    depth: NDArray[np.float64]  # N, edges from the root down
    information: NDArray[np.float64]  # N, 0..1

    @classmethod
    def at(cls, at: float, logits: Tensor, labels: Tensor, matrices: TreeMatrices) -> Answered:
        """From N x K logits and N labels."""
        return cls.of(sure_nodes(logits, matrices, at=at).edges, labels, matrices)

    @classmethod
    def of(cls, edges: Tensor, labels: Tensor, matrices: TreeMatrices) -> Answered:
        """Of N answers: edges stand for the nodes that they lead to, E for the root."""
        return cls(
            (matrices.membership[edges, labels] > 0).numpy(),
            (matrices.membership.sum(1)[edges] == 1).numpy(),
            (edges == matrices.no_edge).numpy(),
            matrices.depth[edges].double().numpy(),
            hedging.information(matrices)[edges].numpy(),
        )


@dataclass(frozen=True)
class Images:
    """What a model gave to the labelled images that it is measured on."""

    card: ModelCard
    logits: Tensor  # N x K
    labels: Tensor  # N
    matrices: TreeMatrices
    note: str  # ends the meaning of each figure


def sure_answers(context: Context, n: Sizes) -> list[Figure]:
    """Q16, of the ImageNet network on photographs and of the others on the halves that did not choose their limit."""
    every = [_photographs(context), *(_held_out(context, name, n["held-out images"]) for name in SHIPPED)]
    return [
        figure
        for images in every
        for figure in (
            *_at_the_limit(images, seed=context.seed),
            *_curve(images),
            _against_hedging(images, n["splits"], seed=context.seed),
        )
    ]


def _photographs(context: Context) -> Images:
    logits = logits_of(context.answers_to_photographs(IMAGENET))
    return _images(context, IMAGENET, logits, context.photographs.labels, note=BOUND)


def _held_out(context: Context, name: str, count: int) -> Images:
    held = context.held_out(name)
    logits = logits_of(context.answers_to_held_out(name, count))
    note = "The images are held-out ones, of the half that did not choose the card's limit."
    return _images(context, name, logits, held.labels[list(held.measured(count))], note=note)


def _images(context: Context, name: str, logits: Tensor, labels: Tensor, *, note: str) -> Images:
    model = context.model(name)
    assert model.matrices is not None, f"{name} ships without a tree"
    return Images(model.card, logits, labels, model.matrices, note)


def _at_the_limit(images: Images, *, seed: int) -> list[Figure]:
    """With the probability that the card asks for."""
    name, at = images.card.name, images.card.limits.sure_at
    found = Answered.at(at, images.logits, images.labels, images.matrices)
    first = images.logits.argmax(1) == images.labels
    said = ~found.root
    return [
        share(
            f"Q16 right sure answers, {name}",
            found.right,
            target=RIGHT,
            controls={
                "at": at,
                "first answer right": 100 * float(first.double().mean()),
                "right where it vouches for something": 100 * float(found.right[said].mean()) if said.any() else 0.0,
            },
            meaning="Share of the images whose class is, or lies below, the sure answer. The root counts as right. "
            f"{images.note}",
        ),
        share(
            f"Q16 sure answers of a single class, {name}",
            found.single,
            target=SINGLE.get(name),
            controls={"at": at, "vouches for nothing": 100 * float(found.root.mean())},
            meaning=f"Share of the images whose sure answer is one class and not a wider group. {images.note}",
        ),
        estimate(
            f"Q16 mean depth of the sure answer, {name}",
            found.depth,
            unit="edges",
            controls={"at": at, "of the classes": _mean_depth(images)},
            seed=seed,
            meaning=f"Edges from the root down to the sure answer. {images.note}",
        ),
        estimate(
            f"Q16 mean information of the sure answer, {name}",
            found.information,
            unit="of 1",
            controls={"at": at, "of right answers alone": float((found.information * found.right).mean())},
            seed=seed,
            meaning="log2(K / classes below) / log2(K) for K classes: 1 for a class, 0 where the model vouches for "
            f"nothing. {images.note}",
        ),
    ]


def _mean_depth(images: Images) -> float:
    """Of the leaves of the images' labels."""
    there = (images.matrices.paths != images.matrices.no_edge).sum(1)
    return float(there[images.labels].double().mean())


def _curve(images: Images) -> list[Figure]:
    """Risk against coverage."""
    out = []
    for at in CURVE:
        found = Answered.at(at, images.logits, images.labels, images.matrices)
        out += [
            share(
                f"Q16 right at {at:.2f}, {images.card.name}",
                found.right,
                controls={"vouches for nothing": 100 * float(found.root.mean())},
                meaning=f"Right sure answers, where a sure answer must hold this probability. {images.note}",
            ),
            share(
                f"Q16 single class at {at:.2f}, {images.card.name}",
                found.single,
                controls={"mean depth": float(found.depth.mean()), "mean information": float(found.information.mean())},
                meaning=f"Sure answers of a single class, at this probability. {images.note}",
            ),
        ]
    return out


def _against_hedging(images: Images, splits: int, *, seed: int) -> Figure:
    """The difference in information at equal accuracy."""
    rows, multiplier = _compared(images, splits, seed=seed)
    low, high = bootstrap(100 * (rows[:, 1] - rows[:, 4]), mean, seed=seed)
    return estimate(
        f"Q16 information against Hedging your bets, {images.card.name}",
        rows[:, 0] - rows[:, 3],
        unit="of 1",
        controls={
            "of the sure answer": float(rows[:, 0].mean()),
            "of Hedging your bets": float(rows[:, 3].mean()),
            "right sure answers": 100 * float(rows[:, 1].mean()),
            "right by Hedging your bets": 100 * float(rows[:, 4].mean()),
            "difference, points, low": low,
            "difference, points, high": high,
            "single class": 100 * float(rows[:, 2].mean()),
            "single class by Hedging your bets": 100 * float(rows[:, 5].mean()),
            "median multiplier": multiplier,
            "splits": splits,
        },
        seed=seed,
        meaning="Mean information of the sure answer less that of the search of Deng et al. (CVPR 2012). On one half "
        "of the images both limits are chosen: the least probability and the least multiplier with which as many "
        "answers are right as with the card's probability. The other half measures, over seeded splits. Below 0, the "
        f"search says more. {images.note}",
    )


def _compared(images: Images, splits: int, *, seed: int) -> tuple[NDArray[np.float64], float]:
    """Of each image: information, right or not, single class or not, of the sure answer and then of the search; and the
    median multiplier. An image's row is its mean over the splits that measure it, so that an interval is one over
    images and not over splits."""
    matrices, count = images.matrices, len(images.labels)
    probabilities = node_probabilities(images.logits, matrices).double()
    gain = hedging.information(matrices)
    single = (matrices.membership.sum(1) == 1).double()
    right = matrices.membership.T[images.labels] > 0  # N x (E + 1)
    by_limit = torch.stack([sure_nodes(images.logits, matrices, at=limit).edges for limit in CANDIDATES])
    card = sure_nodes(images.logits, matrices, at=images.card.limits.sure_at).edges
    total, times, multipliers = torch.zeros(count, 6, dtype=torch.float64), torch.zeros(count, 1), list[float]()
    for split in range(splits):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed + split))
        fit, rest = order[: count // 2], order[count // 2 :]
        accuracy = float(_right(card[fit], right[fit]).mean())
        ours = by_limit[hedging.least(_right(by_limit[:, fit], right[fit]).mean(1), accuracy)][rest]
        multipliers.append(hedging.fit_multiplier(probabilities[fit], gain, right[fit], accuracy=accuracy))
        theirs = hedging.answers(probabilities[rest], gain, multiplier=multipliers[-1])
        for first, chosen in ((0, ours), (3, theirs)):
            total[rest, first : first + 3] += torch.stack(
                [gain[chosen], _right(chosen, right[rest]), single[chosen]], 1
            )
        times[rest] += 1
    measured = times[:, 0] > 0
    return (total[measured] / times[measured]).numpy(), float(np.median(multipliers))


def _right(edges: Tensor, right: Tensor) -> Tensor:
    """1 where an answer is right, else 0: ... x N answers to N images, by N x (E + 1) right nodes."""
    return right[torch.arange(len(right)), edges].double()
