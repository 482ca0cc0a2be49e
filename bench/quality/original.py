"""The network of `efficientnet-lite-pytorch` with the same weights, which ours must equal."""

from __future__ import annotations

import torch
from torch import Tensor

from shared.cards.card import ModelCard


def original_logits(card: ModelCard, inputs: Tensor) -> Tensor:
    """N x K logits. Raises ImportError where the package is not installed."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", num_classes=card.class_count)
    network.load_state_dict(torch.load(card.weights_path, map_location="cpu", weights_only=True))
    network.eval()
    with torch.inference_mode():
        logits: Tensor = network(inputs)
    return logits


def relative_difference(logits: Tensor, others: Tensor) -> Tensor:
    """N: the largest difference of each image's K logits, by the range of the others."""
    span = others.amax(1) - others.amin(1)
    return (logits - others).abs().amax(1) / span
