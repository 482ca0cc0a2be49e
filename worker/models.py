"""A loaded model: checked weights in evaluation mode, split where class activation maps are exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from shared.cards import ModelCard
from shared.errors import ModelUnavailable
from worker.maps import logits_of
from worker.networks import ARCHITECTURES
from worker.tree import TreeMatrices
from worker.weights import load_weights


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode. The head stays in fp32 so that certificates hold."""

    card: ModelCard
    trunk: nn.Module  # N x 3 x S x S -> N x D x h x w, what enters the pooling
    weight: Tensor  # K x D
    bias: Tensor  # K

    @classmethod
    def load(cls, card: ModelCard, *, device: torch.device | None = None) -> Model:
        """Build the network and load its checked weights. Raises ModelUnavailable."""
        if card.architecture not in ARCHITECTURES:
            raise ModelUnavailable(f"{card.name} names an unknown architecture {card.architecture!r}")
        architecture = ARCHITECTURES[card.architecture]
        network = architecture.build(card.class_count)
        load_weights(network, card)
        return cls.of(network, card, device=device)

    @classmethod
    def of(cls, network: nn.Module, card: ModelCard, *, device: torch.device | None = None) -> Model:
        """Split a network that has its weights. Raises ModelUnavailable where trunk and head do not make it up."""
        architecture = ARCHITECTURES[card.architecture]
        network = network.eval().requires_grad_(False).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        head = architecture.head(network)
        model = cls(card, architecture.trunk(network).eval(), head.weight.detach().float(), head.bias.detach().float())
        _check_split(network, model)
        return model

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @cached_property
    def matrices(self) -> TreeMatrices | None:
        tree = self.card.hierarchy
        return TreeMatrices.of(tree).to(device=self.device) if tree else None

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """N x 3 x S x S -> fp32 N x D x h x w."""
        x = inputs.to(self.device).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.trunk(x)
        return features.float().contiguous()

    def logits(self, features: Tensor) -> Tensor:
        return logits_of(features, self.weight, self.bias)


@torch.inference_mode()
def _check_split(network: nn.Module, model: Model) -> None:
    size = model.card.input.size
    probe = torch.linspace(-2, 2, 3 * size * size, device=model.device).view(1, 3, size, size)
    if not torch.allclose(network(probe).float(), model.logits(model.features(probe)), rtol=1e-3, atol=1e-3):
        raise ModelUnavailable(f"{model.card.name} is not a trunk, global average pooling and one linear layer")
