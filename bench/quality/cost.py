"""Q13: what maps and trees cost beside the prediction, and beside nbdt's and torchcam's own code. Everything that is
compared is measured in turns in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.figures import Figure, estimate, median
from bench.quality.context import SHIPPED, Context, Sizes, progress
from bench.speed.tree import DATASET, against_nbdt
from shared.cards.card import ModelCard
from shared.settings import REPOSITORY
from worker.algebra import maps
from worker.algebra.decisions import decision_maps
from worker.algebra.tree import TreeMode, infer
from worker.engine.architectures import build
from worker.engine.models import Model
from worker.explain.explanations import explain_forward, tree_mode
from worker.explain.forward import Forward, Question
from worker.explain.progress import ignore

T = TypeVar("T")


def cost(context: Context, n: Sizes) -> list[Figure]:
    """Q13: explaining, the tree, Score-CAM."""
    out = []
    models = [_random_resnet18(context.registry.get("resnet18-imagenet")), *(context.model(name) for name in SHIPPED)]
    for model in models:
        out += _explaining(model, n)
    walk = f"Q13 tree in matrix form against nbdt's walk, {DATASET}, {n['rows']} rows"
    return [*out, against_nbdt(walk, n["rows"], n, target=">= 50"), *_against_torchcam(n)]


def _random_resnet18(card: ModelCard) -> Model:
    """Upstream's network with random weights, which cost as much as trained ones."""
    named = replace(card, classes=card.classes or tuple(f"class {k}" for k in range(card.class_count)))
    return Model.of(build(card.architecture, card.class_count), named)


def _explaining(model: Model, n: Sizes) -> list[Figure]:
    name = f"{model.card.name}, {model.card.input.size} px, batch {n['batch']}"
    mode = tree_mode(model.card, "auto")
    assert mode is not None, f"{model.card.name} ships without a tree"
    size = model.card.input.size
    inputs = torch.randn(n["batch"], 3, size, size, generator=torch.Generator().manual_seed(0))
    model.logits(model.features(inputs[:1]))
    rounds = [_seconds(model, inputs, mode) for _ in progress(range(n["rounds"]), f"cost, {name}")]
    share = 100 * np.array(rounds)[:, 1:] / np.array(rounds)[:, :1]
    return [
        estimate(
            f"Q13 map and decision maps on top of the prediction, {name}",
            share[:, 0],
            unit="%",
            statistic=median,
            target="<= 5",
            controls={"prediction, s": float(np.median(np.array(rounds)[:, 0]))},
            meaning="Time of the class map, the tree and the maps of all decisions on the path, relative to the "
            "prediction alone.",
        ),
        estimate(
            f"Q13 tree on top of the prediction, {name}",
            share[:, 1],
            unit="%",
            statistic=median,
            target="<= 1",
            meaning="Time of deciding along the tree, relative to the prediction alone.",
        ),
        estimate(
            f"Q13 whole explanation on top of the prediction, {name}",
            share[:, 2],
            unit="%",
            statistic=median,
            meaning="Time of everything that is served for a picture, certificates and documents included, relative "
            "to the prediction alone.",
        ),
    ]


@torch.inference_mode()
def _seconds(model: Model, inputs: Tensor, mode: TreeMode) -> list[float]:
    """Seconds of one round: prediction; map, tree and decision maps; the tree alone; the whole explanation."""
    predict, (features, logits) = _timed(lambda: _predicted(model, inputs))
    matrices, head = model.matrices, model.tree_head
    assert matrices is not None and head is not None
    cam, _ = _timed(lambda: maps.linear_maps(features, model.weight[logits.argmax(1)]))
    tree, inference = _timed(lambda: infer(logits, matrices, mode=mode))
    decisions, _ = _timed(lambda: decision_maps(features, logits, head, matrices, inference))
    questions = [Question(tree=mode)] * len(inputs)
    boxes = [(0, 0, *inputs.shape[2:])] * len(inputs)
    forward = Forward.of(model, inputs, questions)
    whole, _ = _timed(lambda: explain_forward(forward, questions, boxes, progress=ignore))
    return [predict, cam + tree + decisions, tree, whole]


def _predicted(model: Model, inputs: Tensor) -> tuple[Tensor, Tensor]:
    features = model.features(inputs)
    return features, model.logits(features)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _against_torchcam(n: Sizes) -> list[Figure]:
    rounds = [
        [_scorecam(which, n["scorecam side"]) for which in ("ours", "torchcam", "passes")]
        for _ in progress(range(n["scorecams"]), "Score-CAM beside torchcam's")
    ]
    seconds = np.array([[one["seconds"] for one in pair] for pair in rounds])
    peak = np.array([[one["peak_mib"] for one in pair] for pair in rounds])
    name = f"resnet18, {n['scorecam side']} px"
    return [
        estimate(
            f"Q13 time of Score-CAM relative to torchcam's, {name}",
            seconds[:, 0] / seconds[:, 1],
            unit="x",
            statistic=median,
            target="<= 0.6",
            controls={
                "ours, s": float(np.median(seconds[:, 0])),
                "torchcam, s": float(np.median(seconds[:, 1])),
                "its forward passes alone, s": float(np.median(seconds[:, 2])),
            },
            meaning="Time of one Score-CAM map of one picture, as a share of torchcam's. The forward passes alone, one "
            "for each channel, are what no Score-CAM can go below.",
        ),
        estimate(
            f"Q13 peak memory of Score-CAM, {name}",
            peak[:, 0],
            unit="MiB",
            statistic=median,
            target="<= 600",
            controls={"torchcam": float(np.median(peak[:, 1]))},
            meaning="Largest resident size of the whole process that computes one map.",
        ),
    ]


def _scorecam(which: str, side: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.quality.scorecam_process", which, str(side)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImportError(f"Score-CAM did not run: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
