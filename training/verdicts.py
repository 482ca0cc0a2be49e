"""Measure the limits that a model's verdicts go by, and write them into the model's card.

    python -m training.verdicts nbdt-cifar10

A sure answer shall be right in 97 of 100 cases: one half of the held-out images, by seed, chooses the probability that
it must hold. Of EfficientNet-Lite0 nothing is held out: the photographs at hand were probably among those that it was
trained on. There the general probability of 0.7 stays, and no temperature is fitted; the confidence below which an
answer is a guess, and the score below which an image is unfamiliar, are measured on them, and the card says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import torch
from rich.progress import track
from torch import Generator, Tensor

from shared.cards.card import ModelCard, Registry
from shared.cards.verdicts import Unfamiliar, VerdictLimits
from shared.settings import Settings
from training import pictures
from training.calibration import ANSWER_ACCURACY, BATCH, SEED, answers, own_and_foreign, rounded
from training.pictures import ARCHIVES
from worker.algebra.tree import TreeMatrices
from worker.engine.inputs import to_tensors
from worker.engine.models import Model
from worker.explain.sure import sure_nodes
from worker.trust.calibration import accuracy_threshold, confidences
from worker.trust.familiarity import FamiliarityKind, familiarity, familiarity_threshold

RIGHT = 0.97  # share of the sure answers
CANDIDATES = [round(0.51 + 0.01 * step, 2) for step in range(49)]  # probabilities that a sure answer may have to hold
FALSE_ALARM = 0.02  # share of the photographs that may be called unfamiliar


@click.command(help=__doc__)
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, show_default=True)
def main(model: str, data: Path) -> None:
    card = Registry.load(Settings.load()).ready(model)
    limits = of_seen_photographs(card, data) if card.class_count == 1000 else of_held_out_images(card, data)
    write(card.folder / "card.json", limits)
    click.echo(json.dumps(limits, indent=1))


def of_held_out_images(card: ModelCard, data: Path) -> dict[str, Any]:
    """The block of a model that has held-out images; its other limits are those of its calibration."""
    held_out = {"CIFAR-10 test": pictures.cifar10("test", data), "photos100 val": pictures.photos100("val", data)}
    own, _ = own_and_foreign(card, held_out, seed=SEED)
    labels = held_out[own].labels
    logits = answers(Model.load(card), held_out[own].images, f"{card.name}: {own}")
    fit = torch.randperm(len(labels), generator=Generator().manual_seed(SEED))[: len(labels) // 2]
    assert card.hierarchy is not None, "without a tree there is no sure answer"
    at = sure_at(logits[fit], labels[fit], TreeMatrices.of(card.hierarchy))
    return {"sure_at": at, "data": f"{own}, {len(fit)} pictures"}


def of_seen_photographs(card: ModelCard, data: Path) -> dict[str, Any]:
    """The block of a model whose training images are not at hand to be kept apart."""
    photographs = pictures.photos1000(data)
    model, logits = Model.load(card), list[Tensor]()
    for start in track(range(0, len(photographs), BATCH), card.name):
        batch = photographs.photos(slice(start, start + BATCH))
        logits.append(model.logits(model.features(to_tensors(batch, card.input))))
    z = torch.cat(logits)
    confidence, answer = confidences(z, temperature=1.0)
    guess_below = accuracy_threshold(confidence, answer == photographs.labels, level=ANSWER_ACCURACY)
    kind = FamiliarityKind.ENERGY
    below = familiarity_threshold(familiarity(z, kind=kind), false_alarm=FALSE_ALARM)
    limits = VerdictLimits(
        guess_below=guess_below,
        unfamiliar=Unfamiliar(kind.value, below),
        data=photographs.describe(),
        probably_seen=True,
    )
    return dict(rounded(limits.to_dict()))


def sure_at(logits: Tensor, labels: Tensor, matrices: TreeMatrices) -> float:
    """The least probability that makes RIGHT of the sure answers right, of N x K logits and N labels."""
    for at in CANDIDATES:
        edges = sure_nodes(logits, matrices, at=at).edges
        if float(matrices.membership[edges, labels].mean()) >= RIGHT:
            return at
    return CANDIDATES[-1]


def write(path: Path, limits: dict[str, Any]) -> None:
    """Put the block into a card before its facts, in the place of an earlier one."""
    card = json.loads(path.read_text("utf-8"))
    card["verdict"] = limits
    card["facts"] = card.pop("facts", {})
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
