"""Guided Backprop (arXiv 1412.6806), as a control only: its maps hardly depend on the class or on the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from worker.engine.models import Model


class _GuidedRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient.clamp(min=0), 0.0)


class GuidedRelu(nn.Module):
    """ReLU whose gradient passes only where both the input and the gradient are positive."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _GuidedRelu.apply(x)  # type: ignore[no-untyped-call]  # torch types it not at all
        return out


def guided(trunk: nn.Module) -> nn.Module:
    """A copy of a trunk with every ReLU guided."""
    twin = copy.deepcopy(trunk)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, GuidedRelu())
    return twin


def guided_gradients(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    """Gradient of each image's target logit through guided ReLUs: inputs and result N x 3 x S x S, targets N x T
    classes each; the result is N x T x 3 x S x S."""
    trunk = guided(model.trunk)
    x = inputs.detach().clone().requires_grad_()
    scores = model.logits(trunk(x)).gather(1, targets)
    out = [torch.autograd.grad(score.sum(), x, retain_graph=True)[0] for score in scores.unbind(1)]
    return torch.stack(out, 1)
