"""A loaded model: checked weights in evaluation mode, in the two parts that explanations work on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from shared.cards.card import ModelCard
from shared.errors import ModelUnavailable
from worker.algebra.decisions import TreeHead
from worker.algebra.tree import TreeMatrices
from worker.engine.anatomy import PooledLinear, dissect
from worker.engine.architectures import build
from worker.engine.folding import fold_batch_norms
from worker.engine.fusing import fuse
from worker.engine.precision import InBf16
from worker.engine.weights import load_weights

# Of pictures that go through a trunk together on a CPU: the activations of more fit neither its caches nor the memory
# that an allocator keeps, so that each picture takes longer.
PIXELS_AT_ONCE = 8 * 224**2


@dataclass(frozen=True)
class Model:
    """A network in evaluation mode. A linear head stays in fp32 so that certificates hold."""

    card: ModelCard
    trunk: nn.Module  # N x 3 x S x S -> N x D x h x w, the last feature map; the picture itself where there is none
    head: nn.Module  # N x D x h x w -> N x K

    @classmethod
    def load(cls, card: ModelCard, *, device: torch.device | None = None, bf16: bool = False) -> Model:
        """Build the network and load its checked weights; `bf16` is the precision of its trunk, fp32 otherwise. Raises
        ModelUnavailable."""
        network = build(card.architecture, card.class_count)
        load_weights(network, card)
        return cls.of(network, card, device=device, bf16=bf16)

    @classmethod
    def of(
        cls, network: nn.Module, card: ModelCard, *, device: torch.device | None = None, bf16: bool = False
    ) -> Model:
        """Split a network that has its weights, and that is changed to run faster. Raises ModelUnavailable where it has
        not the head that the card names, or where trunk and head do not give the whole network's logits."""
        network = network.eval().requires_grad_(False).to(device)
        fold_batch_norms(network)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        try:
            parts = dissect(network, size=card.input.size, kind=card.head)
        except ModelUnavailable as error:
            raise ModelUnavailable(f"{card.name}: {error}") from error
        trunk = fuse(parts.trunk.to(torch.bfloat16 if bf16 else torch.float32), size=card.input.size)
        return cls(card, InBf16(trunk) if bf16 else trunk, parts.head)

    @property
    def precision(self) -> str:
        """Of the trunk: fp32 or bf16. The head is always in fp32."""
        return "bf16" if isinstance(self.trunk, InBf16) else "fp32"

    @property
    def linear(self) -> PooledLinear | None:
        """The head where it is pooling and one linear layer, which makes exact maps possible."""
        return self.head if isinstance(self.head, PooledLinear) else None

    @property
    def weight(self) -> Tensor:
        """K x D, of a linear head."""
        return self._linear.weight

    @property
    def bias(self) -> Tensor:
        """K, of a linear head."""
        return self._linear.bias

    @cached_property
    def _linear(self) -> PooledLinear:
        if self.linear is None:
            raise ModelUnavailable(f"{self.card.name} has no linear head; its card names the methods that it can do")
        return self.linear

    @cached_property
    def device(self) -> torch.device:
        some: Tensor = next(iter(self.head.state_dict().values()))
        return some.device

    @cached_property
    def matrices(self) -> TreeMatrices | None:
        tree = self.card.hierarchy
        return TreeMatrices.of(tree).to(device=self.device) if tree else None

    @cached_property
    def tree_head(self) -> TreeHead | None:
        return TreeHead.of(self.weight, self.bias, self.matrices) if self.linear and self.matrices else None

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """N x 3 x S x S -> fp32 N x D x h x w, in the order in memory that the trunk gives them."""
        x = inputs.to(self.device).contiguous(memory_format=torch.channels_last)
        parts = math.ceil(len(x) * self.card.input.size**2 / PIXELS_AT_ONCE) if x.device.type == "cpu" else 1
        parts = max(1, min(parts, len(x)))  # one large picture is not divided
        found = [self.trunk(part).float() for part in x.tensor_split(parts)]
        return torch.cat(found) if parts > 1 else found[0]

    def logits(self, features: Tensor) -> Tensor:
        """N x D x h x w -> fp32 N x K."""
        logits: Tensor = self.head(features)
        return logits.float()
