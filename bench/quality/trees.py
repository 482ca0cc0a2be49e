"""Q3 and Q4: the tree in matrix form against nbdt's own rules, and what a tree costs in accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.figures import Figure, estimate
from bench.quality import nbdt_oracle
from bench.quality.context import CIFAR, PHOTOS, Context, HeldOut, Sizes
from worker.algebra.tree import TreeMatrices, TreeMode, infer

BATCH = 512
SPREAD = 4.0  # standard deviation of random logits


def parity(context: Context, n: Sizes) -> list[Figure]:
    """Q3: equal answers on the same logits."""
    out = _parity("CIFAR10", "logits of test pictures", context.held_out(CIFAR).logits[: n["pictures"]])
    for dataset in nbdt_oracle.TREES:
        shape = (n["random"], nbdt_oracle.tree(dataset).class_count)
        out += _parity(dataset, "random logits", torch.randn(shape, generator=context.generator()) * SPREAD)
    return out


def _parity(dataset: str, what: str, logits: Tensor) -> list[Figure]:
    matrices = TreeMatrices.of(nbdt_oracle.tree(dataset))
    theirs = nbdt_oracle.ask(dataset, logits)
    hard = infer(logits, matrices, mode=TreeMode.HARD)
    soft = infer(logits, matrices, mode=TreeMode.SOFT).leaf_log_p.exp()
    ties = sum(int(has_tie(part, matrices).sum()) for part in hard.scores[:, :-1].split(BATCH))
    return [
        Figure(
            f"Q3 hard decisions equal to nbdt's, {dataset}, {what}",
            100 * float((hard.prediction == theirs.hard).double().mean()),
            "%",
            n=len(logits),
            target=">= 100",
            controls={"with a tie": ties},
            meaning="The matrix form gives the class that nbdt's walk over the nodes gives.",
        ),
        Figure(
            f"Q3 largest difference of a soft probability to nbdt's, {dataset}, {what}",
            float((soft - theirs.soft).abs().max()),
            n=len(logits),
            target="<= 1e-6",
            meaning="The path probabilities are nbdt's, up to the rounding of single precision.",
        ),
    ]


def has_tie(scores: Tensor, matrices: TreeMatrices) -> Tensor:
    """Whether two children of one decision have the same score, for each of N rows."""
    same = scores.unsqueeze(2) == scores.unsqueeze(1)
    siblings = (matrices.decision.unsqueeze(1) == matrices.decision).triu(1)
    return (same & siblings).any(2).any(1)


def accuracy(context: Context, n: Sizes) -> list[Figure]:
    """Q4: right answers of the network and of the tree in each mode."""
    return [*_tuned(context.held_out(CIFAR), n["pictures"]), *_untuned(context.held_out(PHOTOS), n["pictures"])]


def _tuned(held: HeldOut, count: int) -> list[Figure]:
    right = _right(held, count)
    base = right.pop("network")
    name = held.model.card.name
    out = [
        estimate(
            f"Q4 accuracy of the network, {name}",
            base.numpy(),
            unit="%",
            target=">= 91",
            controls={"wrn28_10_cifar10, published, other pictures": 97.61},
            meaning="Share of test pictures that the network alone classifies rightly; the goal is 93.",
        )
    ]
    targets = {"soft": ">= -0.3", "hard": ">= -0.6", "marginal": ">= 0 and <= 0"}
    return out + [
        estimate(
            f"Q4 {mode} tree against the network, {name}",
            (right[mode] - base).numpy(),
            unit="points",
            target=target,
            controls={"accuracy": float(right[mode].mean())},
            meaning=f"What deciding along the tree in {mode} mode costs or gains in accuracy.",
        )
        for mode, target in targets.items()
    ]


def _untuned(held: HeldOut, count: int) -> list[Figure]:
    right = _right(held, count)
    base = right.pop("network")
    return [
        estimate(
            f"Q4 {mode} tree against the network, not tuned, {held.model.card.name}",
            (right[mode] - base).numpy(),
            unit="points",
            target=">= 0 and <= 0" if mode == "marginal" else None,
            controls={"accuracy": float(right[mode].mean()), "network": float(base.mean())},
            meaning=f"The same for a network that was trained without its tree: what {mode} mode costs there.",
        )
        for mode in ("soft", "hard", "marginal")
    ]


def _right(held: HeldOut, count: int) -> dict[str, Tensor]:
    """100 for a right answer and 0 for a wrong one, for each picture, of the network and of each mode of its tree."""
    logits, labels = held.logits[:count], held.labels[:count]
    matrices = held.model.matrices
    assert matrices is not None, f"{held.model.card.name} ships without a tree"
    answers = {"network": logits.argmax(1)}
    for mode in TreeMode:
        parts = [infer(part, matrices, mode=mode).prediction for part in logits.split(BATCH)]
        answers[mode.value] = torch.cat(parts)
    return {name: (answer == labels).double() * 100 for name, answer in answers.items()}
