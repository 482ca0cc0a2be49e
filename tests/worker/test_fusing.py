"""Fused convolutions: the same features in fewer steps, gradients as before, nothing overwritten that is needed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.worker.test_folding import INPUT, Undecided, used
from worker.engine.anatomy import dissect
from worker.engine.folding import fold_batch_norms
from worker.engine.fusing import RELU6, Convolution, Fused, RectifiedPool, fuse
from worker.engine.networks import NETWORKS

SIZE = INPUT.shape[-1]


def trunk_of(name: str) -> nn.Module:
    network = used(NETWORKS[name](10))
    fold_batch_norms(network)
    return dissect(network.to(memory_format=torch.channels_last), size=SIZE).trunk  # type: ignore[call-overload]


def steps(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(step, kind) for step in module.modules())


@pytest.mark.parametrize(
    ("name", "rectifiers"), [("cifar_resnet", 0), ("efficientnet_lite0", 0), ("resnet18", 0), ("wrn28_10_cifar10", 12)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fused_trunk_gives_the_same_features_in_fewer_steps(name: str, rectifiers: int, dtype: torch.dtype) -> None:
    """Behind a wide residual network's additions a batch norm stands before the ReLU."""
    trunk = trunk_of(name).to(dtype)
    fused = fuse(trunk, size=SIZE)
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert fused is trunk  # this processor's oneDNN has no bf16: the trunk as it was serves
        return
    assert isinstance(fused, Fused) and fused.plain is trunk
    assert steps(fused.quick, Convolution) == steps(trunk, nn.Conv2d) and not steps(fused.quick, nn.Conv2d)
    convolutions = {name for name, layer in trunk.named_modules() if isinstance(layer, nn.Conv2d)}
    assert {layer.name for layer in fused.quick.modules() if isinstance(layer, Convolution)} == convolutions
    assert steps(fused.quick, nn.ReLU) == rectifiers
    assert steps(fused.quick, RectifiedPool) == (steps(trunk, nn.MaxPool2d) if dtype is torch.bfloat16 else 0)
    with torch.no_grad():
        for inputs in (INPUT.to(dtype), INPUT[:1].to(dtype)):
            expected = trunk(inputs)
            assert (fused(inputs) - expected).abs().max() <= {4: 1e-5, 2: 0.03}[dtype.itemsize] * expected.abs().max()


POOLS = [
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, 2),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d(3, 2, 1, dilation=2),
    nn.MaxPool2d(2, 2, 1),
    nn.MaxPool2d(2, 1),
    nn.MaxPool2d((3, 2), (2, 2), (1, 0)),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 31), (31, 32), (8, 6)])
def test_numbers_that_are_not_negative_are_pooled_by_their_bits_to_the_very_same(
    pool: nn.MaxPool2d, height: int, width: int
) -> None:
    numbers = (INPUT * torch.logspace(-30, 30, INPUT.shape[-1])).relu().to(torch.bfloat16)
    numbers[0, 0, 0, 0] = torch.inf
    inputs = numbers[:, :, :height, :width].contiguous(memory_format=torch.channels_last)
    kept, found = inputs.clone(), RectifiedPool(pool)(inputs)
    assert torch.equal(found, pool(inputs)) and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(inputs, kept), "what is pooled stays as it is"


class Applied(nn.Module):
    """What a function applies, or a method of a tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Doubling(nn.ReLU6):
    """A subclass that does more."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("after", "is_fused"),
    [
        (nn.ReLU6(), True),
        (nn.ReLU6(inplace=True), True),
        (Applied(nn.functional.relu6), True),
        (Doubling(), False),
        (nn.Hardtanh(0, 6), False),
        (nn.Hardtanh(-1, 6), False),
    ],
    ids=str,
)
def test_an_activation_that_stops_at_6_is_applied_on_the_way_and_one_that_may_be_more_is_not(
    after: nn.Module, is_fused: bool
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, padding=1)
    convolution.weight.data *= 20
    trunk = nn.Sequential(convolution, after).eval().requires_grad_(False)
    fused, expected = fuse(trunk, size=SIZE), trunk(INPUT.clone())
    assert isinstance(fused, Fused) and expected.max() >= 6
    (step,) = (one for one in fused.quick.modules() if isinstance(one, Convolution))
    assert step.rectifier == (RELU6 if is_fused else None)
    assert torch.allclose(fused(INPUT.clone()), expected, atol=1e-4)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor's oneDNN has no bf16")
@pytest.mark.parametrize("between", [nn.Tanh(), nn.Conv2d(3, 3, 1)])
def test_numbers_that_may_be_negative_are_pooled_as_they_are(between: nn.Module) -> None:
    trunk = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), between, nn.MaxPool2d(2)).eval().to(torch.bfloat16)
    fused = fuse(trunk, size=SIZE)
    assert isinstance(fused, Fused) and not steps(fused.quick, RectifiedPool) and steps(fused.quick, nn.MaxPool2d)


def test_where_gradients_are_asked_for_they_are_those_of_the_trunk() -> None:
    trunk = trunk_of("resnet18")
    found: list[Tensor] = []
    for module in (trunk, fuse(trunk, size=SIZE)):
        inputs = INPUT.clone().requires_grad_()
        found += torch.autograd.grad(module(inputs).sum(), inputs)
    assert torch.equal(*found) and found[0].any()


def test_a_copy_of_a_fused_trunk_gives_the_same_features() -> None:
    fused = fuse(trunk_of("resnet18"), size=SIZE)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(fused)(INPUT), fused(INPUT))


class Branches(nn.Module):
    """Two convolutions and an addition. `form` says which way what is added goes besides."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        one: Tensor = self.first(x)
        two: Tensor = self.second(one)
        half = one[:, :, :4]
        both = two.add(one) if self.form == "by a method" else two + (x if self.form == "added to the picture" else one)
        if self.form == "needed later":
            return both * one
        if self.form == "needed in part":
            return both[:, :, :4] * half
        if self.form == "added twice":
            return both + torch.relu(self.second(one) + one)
        return torch.relu(both)


FORMS = ("alone", "by a method", "added to the picture", "needed later", "needed in part", "added twice")


@pytest.mark.parametrize("form", FORMS)
def test_what_is_needed_elsewhere_is_not_overwritten(form: str) -> None:
    torch.manual_seed(0)
    branches, before = Branches(form).eval().requires_grad_(False), INPUT.clone()
    fused = fuse(branches, size=SIZE)
    assert isinstance(fused, Fused)
    for _ in range(2):
        assert torch.allclose(fused(INPUT), branches(INPUT), atol=1e-5)
    assert torch.equal(INPUT, before)


def test_a_convolution_that_pads_in_its_own_way_is_left_as_it_is() -> None:
    layers = [nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"), nn.Conv2d(3, 3, 3, padding="same")]
    fused = fuse(nn.Sequential(*layers, nn.Conv2d(3, 3, 1)).eval().requires_grad_(False), size=SIZE)
    assert isinstance(fused, Fused)
    assert steps(fused.quick, Convolution) == 1 and steps(fused.quick, nn.Conv2d) == 2


def test_a_trunk_that_cannot_be_traced_or_has_no_convolution_is_left_as_it_is() -> None:
    for trunk in (Undecided().eval().requires_grad_(False), nn.AvgPool2d(2)):
        assert fuse(trunk, size=SIZE) is trunk
