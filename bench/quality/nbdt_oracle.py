"""nbdt 0.0.4's own rules, run in a process of their own: importing nbdt has side effects that nothing should share.

    python -m bench.quality.nbdt_oracle FOLDER DATASET...

reads DATASET.npy, logits, and writes DATASET.npz. The cost of its hard walk grows with the square of the batch, so that
more than BATCH rows go in parts.
"""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from shared.cards.hierarchy import Hierarchy
from shared.settings import REPOSITORY
from training.trees.nbdt_files import nbdt_hierarchy

TREES = {
    "CIFAR10": "induced-wrn28_10_cifar10",
    "CIFAR100": "induced-wrn28_10_cifar100",
    "TinyImagenet200": "induced-ResNet18",
}
BATCH = 1024


@dataclass(frozen=True)
class NbdtPredictions:
    """What nbdt says of N rows of logits."""

    hard: Tensor  # N, class index
    soft: Tensor  # N x K, path probabilities
    walk_seconds: float  # of the hard rules


def tree(dataset: str) -> Hierarchy:
    """nbdt's hierarchy of a data set, read as data."""
    return nbdt_hierarchy(dataset, TREES[dataset])


def ask(dataset: str, logits: Tensor) -> NbdtPredictions:
    """Run nbdt's hard and soft rules on N x K logits."""
    return ask_all({dataset: logits})[dataset]


def ask_all(logits: Mapping[str, Tensor]) -> dict[str, NbdtPredictions]:
    """The same for several data sets, in one process: importing nbdt takes longer than its rules."""
    with TemporaryDirectory() as name:
        for dataset, rows in logits.items():
            np.save(Path(name) / f"{dataset}.npy", rows.numpy())
        subprocess.run(
            [sys.executable, "-m", "bench.quality.nbdt_oracle", name, *logits],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
        return {dataset: _read(Path(name) / f"{dataset}.npz") for dataset in logits}


def _read(path: Path) -> NbdtPredictions:
    with np.load(path) as out:
        return NbdtPredictions(torch.from_numpy(out["hard"]), torch.from_numpy(out["soft"]), float(out["walk_seconds"]))


def main(folder: str, *datasets: str) -> None:
    import worker.engine.vision  # noqa: F401 - nbdt imports torchvision, which must find its operators

    warnings.simplefilter("ignore")
    from nbdt.analysis import HardEmbeddedDecisionRules, SoftEmbeddedDecisionRules
    from nbdt.data.custom import dataset_to_dummy_classes
    from nbdt.utils import dataset_to_default_path_wnids, hierarchy_to_path_graph

    for dataset in datasets:
        arguments = (
            dataset,
            hierarchy_to_path_graph(dataset, TREES[dataset]),
            dataset_to_default_path_wnids(dataset),
            dataset_to_dummy_classes(dataset),
        )
        logits = torch.from_numpy(np.load(Path(folder) / f"{dataset}.npy"))
        rules = HardEmbeddedDecisionRules(*arguments)
        started = time.perf_counter()
        hard = torch.cat([rules.forward(part) for part in logits.split(BATCH)])
        walk_seconds = time.perf_counter() - started
        soft = SoftEmbeddedDecisionRules(*arguments).forward(logits)
        answer = {"hard": hard.argmax(1).numpy(), "soft": soft.detach().numpy(), "walk_seconds": walk_seconds}
        np.savez(Path(folder) / f"{dataset}.npz", **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
