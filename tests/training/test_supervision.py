"""The loss that teaches a tree, on a tree of three classes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from shared.cards.hierarchy import Hierarchy, Node
from training.supervision import accuracies, tree_supervised_loss
from worker.algebra.tree import TreeMatrices, TreeMode, infer

TREE = Hierarchy(
    (
        Node("r", None, ("v", "frog")),
        Node("v", None, ("ship", "truck")),
        *(Node(name, name, leaf=index) for index, name in enumerate(("frog", "ship", "truck"))),
    )
)
MATRICES = TreeMatrices.of(TREE)
LOGITS = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 3


def test_the_loss_lies_between_that_of_the_network_and_that_of_the_soft_tree() -> None:
    plain = functional.cross_entropy(LOGITS, LABELS)
    leaf_log_p = infer(LOGITS, MATRICES, mode=TreeMode.SOFT).leaf_log_p
    tree = -leaf_log_p[torch.arange(16), LABELS].mean()
    for share in (0.0, 0.3, 1.0):
        loss = tree_supervised_loss(LOGITS, LABELS, MATRICES, tree_share=share)
        assert loss.item() == pytest.approx((1 - share) * plain.item() + share * tree.item(), abs=1e-6)


def test_a_tree_that_is_right_costs_nothing() -> None:
    sure = 100 * functional.one_hot(LABELS, 3).float()
    assert tree_supervised_loss(sure, LABELS, MATRICES, tree_share=1.0).item() == pytest.approx(0, abs=1e-6)
    assert accuracies(sure, LABELS, MATRICES) == dict.fromkeys(("network", "soft", "hard", "marginal"), 100.0)


def test_following_its_gradient_teaches_the_tree_too() -> None:
    logits = LOGITS.clone().requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=5.0)
    for _ in range(50):
        optimizer.zero_grad()
        tree_supervised_loss(logits, LABELS, MATRICES, tree_share=0.5).backward()
        optimizer.step()
    assert accuracies(logits.detach(), LABELS, MATRICES)["hard"] == 100.0
