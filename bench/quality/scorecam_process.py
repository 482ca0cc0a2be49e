"""One Score-CAM map in a process of its own, so that its memory can be measured: time and peak resident size as JSON.

    python -m bench.quality.scorecam_process ours|torchcam|passes SIDE

The network is torchvision's resnet18 with random weights: the cost does not depend on them.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from shared.cards.card import Registry
from shared.settings import Settings
from worker.engine.models import Model
from worker.engine.networks import resnet18

TARGET = 0
BATCH = 32  # of torchcam, its own default


def ours(inputs: Tensor) -> None:
    from worker.algebra.score import Score
    from worker.methods import METHODS
    from worker.methods.attribution import Subject

    model = _model()
    score = Score.of([[TARGET]], [[]], class_count=model.card.class_count)
    with torch.no_grad():
        features = model.trunk(inputs)
        subject = Subject(model, inputs, features, model.logits(features), score)
    METHODS["scorecam"](subject, seed=0, watch=lambda done, total: None)


def torchcam(inputs: Tensor) -> None:
    network = resnet18(100).eval()
    from torchcam.methods import ScoreCAM

    with ScoreCAM(network, "layer4", batch_size=BATCH) as method:
        method(TARGET, network(inputs))


@torch.inference_mode()
def passes(inputs: Tensor) -> None:
    """The forward passes of a Score-CAM, one for each channel, and nothing else."""
    from worker.methods.passes import CHUNK

    model = _model()
    left = model.weight.shape[1]
    while left > 0:
        model.features(inputs.expand(min(CHUNK, left), -1, -1, -1))
        left -= CHUNK


def _model() -> Model:
    card = replace(Registry.load(Settings()).get("resnet18-photos100"), architecture="resnet18")
    return Model.of(resnet18(card.class_count), card)


def main(which: str, side: str) -> None:
    inputs = torch.randn(1, 3, int(side), int(side), generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    {"ours": ours, "torchcam": torchcam, "passes": passes}[which](inputs)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib()}))


def peak_mib() -> float:
    """Largest resident size of this program. getrusage would count that of the process which started it, too."""
    status = Path("/proc/self/status").read_text("ascii")
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
