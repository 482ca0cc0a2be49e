"""nbdt 0.0.4's own rules, run in a process of their own: importing nbdt has side effects that no test should share.

    python -m tests.worker.nbdt_oracle DATASET HIERARCHY LOGITS.npy OUT.npz

The soft probabilities do not depend on the batch, the hard walk is run on the batch as nbdt does.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch

import worker.vision  # noqa: F401 - nbdt imports torchvision, which must find its operators

warnings.simplefilter("ignore")


def main(dataset: str, hierarchy: str, logits_path: str, out_path: str) -> None:
    from nbdt.analysis import HardEmbeddedDecisionRules, SoftEmbeddedDecisionRules
    from nbdt.data.custom import dataset_to_dummy_classes
    from nbdt.utils import dataset_to_default_path_wnids, hierarchy_to_path_graph

    arguments = (
        dataset,
        hierarchy_to_path_graph(dataset, hierarchy),
        dataset_to_default_path_wnids(dataset),
        dataset_to_dummy_classes(dataset),
    )
    logits = torch.from_numpy(np.load(logits_path))
    hard = HardEmbeddedDecisionRules(*arguments).forward(logits)
    soft = SoftEmbeddedDecisionRules(*arguments).forward(logits)
    np.savez(out_path, hard=hard.argmax(1).numpy(), soft=soft.detach().numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
