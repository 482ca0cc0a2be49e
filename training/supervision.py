"""Tree supervision: the loss that teaches a network its tree, and how often network and tree are right."""

from __future__ import annotations

from torch import Tensor, lerp
from torch.nn import functional

from worker.algebra.tree import TreeMatrices, TreeMode, infer, soft_leaf_log_p


def tree_supervised_loss(
    logits: Tensor, labels: Tensor, matrices: TreeMatrices, *, tree_share: float, label_smoothing: float = 0.0
) -> Tensor:
    """(1 - w) * cross-entropy + w * -log p_tree(label), a scalar >= 0, of N x K logits; w is `tree_share`, 0 to 1.

    The second term is the soft tree's (arXiv 2004.00221), as a log-likelihood: nbdt's cross-entropy of probabilities
    has a floor of log(e + K - 1) - 1. The paper's weight of 1 for the tree is a share of 0.5 here.
    """
    plain = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    tree_loss = functional.nll_loss(soft_leaf_log_p(logits, matrices), labels)
    return lerp(plain, tree_loss, tree_share)


def accuracies(logits: Tensor, labels: Tensor, matrices: TreeMatrices) -> dict[str, float]:
    """Share of right answers of the network and of the tree in each mode, in per cent."""
    answers = {"network": logits.argmax(1)}
    on_host = matrices.to(device=logits.device)
    for mode in TreeMode:
        answers[mode.value] = infer(logits, on_host, mode=mode).prediction
    return {name: round((answer == labels).float().mean().item() * 100, 2) for name, answer in answers.items()}
