"""The tree in matrix form beside nbdt's own walk over its nodes, by number of pictures."""

from __future__ import annotations

import time

import numpy as np
import torch

from bench.figures import Figure, estimate, median
from bench.quality import nbdt_oracle
from bench.quality.context import Sizes, progress
from worker.algebra.tree import TreeMatrices, TreeMode, infer

DATASET = "CIFAR10"
ROWS = {1: None, 256: None, 1024: ">= 50"}
REPEATS = 20  # of what takes less than a millisecond


def tree(n: Sizes) -> list[Figure]:
    """How many times faster, at each number of rows."""
    return [
        against_nbdt(f"tree: matrix form against nbdt's walk, {DATASET}, {rows} rows", rows, n, target=target)
        for rows, target in ROWS.items()
    ]


def against_nbdt(figure: str, rows: int, n: Sizes, *, target: str | None) -> Figure:
    """Hard decisions on `rows` random logits, ours and nbdt's in turns."""
    matrices = TreeMatrices.of(nbdt_oracle.tree(DATASET))
    logits = torch.randn(rows, matrices.mean.shape[1], generator=torch.Generator().manual_seed(0))
    ratios, walks = [], []
    for _ in progress(range(n["walks"]), f"tree beside nbdt's walk, {rows} rows"):
        walks.append(nbdt_oracle.ask(DATASET, logits).walk_seconds)
        began = time.perf_counter()
        for _ in range(REPEATS):
            infer(logits, matrices, mode=TreeMode.HARD)
        ratios.append(walks[-1] / ((time.perf_counter() - began) / REPEATS))
    return estimate(
        figure,
        ratios,
        unit="times faster",
        statistic=median,
        target=target,
        controls={"nbdt's walk, s": float(np.median(walks))},
        meaning="How many times faster the hard tree decides on one batch than nbdt's own walk over the nodes.",
    )
