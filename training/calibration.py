"""Measure how far a model's answers can be trusted, on held-out pictures, and write it into the model's card.

    python -m training.calibration resnet18-photos100

The held-out pictures go through the model's own preprocessing. They are split in two halves, by seed: one chooses the
temperature and the thresholds, the other measures what these achieve. Foreign pictures are the other data set's and
noise. The other data set shows some of the same things, cats and lorries, so what is detected of it is a lower bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from rich.progress import track
from torch import Generator, Tensor

from shared.cards.calibration import Calibration, Detection, FamiliarityLimit, TreeCalibration
from shared.cards.card import ModelCard, Registry
from shared.settings import Settings
from training import pictures
from training.pictures import ARCHIVES, Pictures
from worker.algebra.tree import TreeMatrices, TreeMode, edge_scores, infer, log_softmax_by_decision
from worker.engine.inputs import to_tensor
from worker.engine.models import Model
from worker.explain.explanations import tree_mode
from worker.trust.calibration import (
    accuracy_threshold,
    calibrated_edges,
    calibration_error,
    confidences,
    decisions_on_paths,
    fit_decision_temperatures,
    fit_temperature,
    node_calibration,
)
from worker.trust.familiarity import FamiliarityKind, familiarity, familiarity_threshold, separation

SEED = 0
BATCH = 50
FOREIGN = 2000  # pictures of the other data set
NOISE = 500  # pictures of uniform noise
ANSWER_ACCURACY = 0.5  # an answer is unsure where fewer of its like are right
DECISION_ACCURACY = 0.75  # a decision is weak where fewer of its like are right; between two children, chance is 0.5
FALSE_ALARM = 0.05  # share of held-out pictures that may be called unfamiliar
DIGITS = 4


@click.command(help=__doc__)
@click.argument("model")
@click.option("--data", type=click.Path(path_type=Path), default=ARCHIVES, show_default=True)
def main(model: str, data: Path) -> None:
    card = Registry.load(Settings.load()).ready(model)
    held_out = {"CIFAR-10 test": pictures.cifar10("test", data), "photos100 val": pictures.photos100("val", data)}
    own, foreign = own_and_foreign(card, held_out, seed=SEED)
    loaded = Model.load(card)
    logits = answers(loaded, held_out[own].images, f"{model}: {own}")
    others = {name: answers(loaded, images, f"{model}: {name}") for name, images in foreign.items()}
    description = f"{own}, {len(held_out[own])} pictures"
    found = measure(logits, held_out[own].labels, others, card=card, description=description, seed=SEED)
    write(card.folder / "card.json", found)
    click.echo(json.dumps(rounded(found.to_dict()), indent=1))


def own_and_foreign(card: ModelCard, held_out: Mapping[str, Pictures], *, seed: int) -> tuple[str, dict[str, Tensor]]:
    """The name of the data set of the model's own classes, and pictures that are foreign to it, by name."""
    own = next((name for name, one in held_out.items() if one.names == card.classes), None)
    if own is None:
        raise click.ClickException(f"{card.name} has other classes than {' and '.join(held_out)}: nothing is held out")
    rng = Generator().manual_seed(seed)
    foreign = {}
    for name, one in held_out.items():
        if name != own:
            foreign[name] = one.images[torch.randperm(len(one), generator=rng)[:FOREIGN]]
    shape = (NOISE, *held_out[own].images.shape[1:])
    return own, {**foreign, "noise": torch.randint(0, 256, shape, generator=rng).to(torch.uint8)}


def answers(model: Model, images: Tensor, description: str) -> Tensor:
    """N x K logits of uint8 N x 3 x H x W pictures, prepared one by one as they are when served."""
    chunks = list(images.permute(0, 2, 3, 1).split(BATCH))
    logits = []
    for chunk in track(chunks, description):
        batch = [to_tensor(Image.fromarray(one.numpy()), model.card.input) for one in chunk]
        logits.append(model.logits(model.features(torch.stack(batch))).cpu())
    return torch.cat(logits)


def measure(
    logits: Tensor, labels: Tensor, foreign: Mapping[str, Tensor], *, card: ModelCard, description: str, seed: int
) -> Calibration:
    """The block `reliability` of a card, from N x K logits of held-out pictures with N labels and from foreign ones."""
    order = torch.randperm(len(labels), generator=Generator().manual_seed(seed))
    fit, rest = order[: len(order) // 2], order[len(order) // 2 :]
    z = logits.double()
    temperature = fit_temperature(z[fit], labels[fit])
    raw, _ = confidences(z[rest], temperature=1.0)
    confidence, answer = confidences(z[rest], temperature=temperature)
    right = answer == labels[rest]
    fitted, fitted_answer = confidences(z[fit], temperature=temperature)
    threshold = accuracy_threshold(fitted, fitted_answer == labels[fit], level=ANSWER_ACCURACY)
    below = confidence < threshold
    error = calibration_error(confidence, right, seed=seed)
    return Calibration(
        data=description,
        seed=seed,
        fitted_on=len(fit),
        measured_on=len(rest),
        temperature=temperature,
        ece_raw=calibration_error(raw, right, seed=seed).ece,
        ece_calibrated=error.ece,
        ece_bound=error.bound,
        confidence_threshold=threshold,
        share_below=float(below.double().mean()),
        accuracy_below=float(right[below].double().mean()) if below.any() else None,
        familiarity=familiarity_limit(z[fit], z[rest], {name: one.double() for name, one in foreign.items()}),
        tree=tree_calibration(z, labels, fit, rest, card=card, temperature=temperature, seed=seed),
    )


def familiarity_limit(fit: Tensor, rest: Tensor, foreign: Mapping[str, Tensor]) -> FamiliarityLimit:
    """The score that separates better, averaged over the foreign sets, its threshold from one half, the rest from the
    other."""

    def threshold(kind: FamiliarityKind) -> float:
        return familiarity_threshold(familiarity(fit, kind=kind), false_alarm=FALSE_ALARM)

    def detection(kind: FamiliarityKind) -> dict[str, Detection]:
        own = familiarity(rest, kind=kind)
        scores = {name: familiarity(logits, kind=kind) for name, logits in foreign.items()}
        return {
            name: Detection(separation(own, score), float((score < threshold(kind)).double().mean()))
            for name, score in scores.items()
        }

    detections = {kind: detection(kind) for kind in FamiliarityKind}
    best, other = sorted(detections, key=lambda kind: -sum(found.auroc for found in detections[kind].values()))
    limit = threshold(best)
    alarms = float((familiarity(rest, kind=best) < limit).double().mean())
    return FamiliarityLimit(best.value, limit, FALSE_ALARM, alarms, detections[best], detections[other])


def tree_calibration(
    logits: Tensor, labels: Tensor, fit: Tensor, rest: Tensor, *, card: ModelCard, temperature: float, seed: int
) -> TreeCalibration | None:
    """Of the tree in the mode that `tree=auto` takes; the weak decision's threshold in every mode."""
    mode = tree_mode(card, "auto")
    if card.hierarchy is None or mode is None:
        return None
    matrices = TreeMatrices.of(card.hierarchy, dtype=torch.float64)
    scores = edge_scores(logits, matrices, mode=mode)
    raw = log_softmax_by_decision(scores, matrices).exp()
    if mode is TreeMode.MARGINAL:
        temperatures = None
        calibrated = infer(logits / temperature, matrices, mode=mode).edge_log_p.exp()
    else:
        found = fit_decision_temperatures(scores[fit], labels[fit], matrices)
        temperatures = dict(zip((node.id for node in card.hierarchy.decisions), found.tolist(), strict=True))
        calibrated = calibrated_edges(scores, found, matrices)
    before, after = (node_calibration(p[rest], labels[rest], matrices, seed=seed) for p in (raw, calibrated))
    weak_below = {}
    for each in TreeMode:
        probability, right = decisions_on_paths(infer(logits[fit], matrices, mode=each), labels[fit], matrices)
        weak_below[each.value] = accuracy_threshold(probability, right, level=DECISION_ACCURACY)
    return TreeCalibration(
        mode=mode.value,
        temperatures=temperatures,
        nodes=len(after),
        nodes_within_bound=sum(error.within for error in after),
        nodes_within_bound_raw=sum(error.within for error in before),
        weak_accuracy=DECISION_ACCURACY,
        weak_below=weak_below,
    )


def write(path: Path, found: Calibration) -> None:
    """Put the block into a card before its facts, in the place of an earlier one."""
    card = json.loads(path.read_text("utf-8"))
    card["reliability"] = rounded(found.to_dict())
    card["facts"] = card.pop("facts", {})
    path.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


def rounded(value: Any) -> Any:
    """The same document with every fraction to DIGITS decimals."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
