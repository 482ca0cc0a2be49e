"""What the processor can do at most, measured in the same run, and the share of it that a network reaches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median as middle
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.figures import Figure, estimate, median
from bench.quality.context import Sizes
from bench.speed.race import Race, Runner, race
from bench.speed.subjects import UPSTREAM, random_model
from worker.engine.fusing import Convolution, Fused
from worker.engine.models import Model
from worker.engine.precision import InBf16, computes_bf16

SIDE = 2048  # of the matrices
GEMM = "matrix product"


@dataclass(frozen=True)
class Layer:
    """A convolution in a forward pass: its floating-point operations and seconds."""

    name: str
    operations: int
    seconds: float

    @property
    def rate(self) -> float:
        """GFLOP/s."""
        return self.operations / self.seconds / 1e9


def limits(n: Sizes) -> list[Figure]:
    """GEMM rates, and what share of them the forward passes in the same precision reach."""
    return [figure for dtype, precision in _precisions().items() for figure in _of_precision(dtype, precision, n)]


def _precisions() -> dict[torch.dtype, str]:
    """Those in which a trunk may run here."""
    every = {torch.float32: "fp32", torch.bfloat16: "bf16"}
    return every if computes_bf16(torch.device("cpu")) else {torch.float32: "fp32"}


def _of_precision(dtype: torch.dtype, precision: str, n: Sizes) -> list[Figure]:
    """Products and passes in turns: how fast the processor is changes within seconds."""
    a, b, product = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(3))
    models = [random_model(name, precision=precision) for name in UPSTREAM]
    inputs = {model.card.name: torch.randn(n["batch"], 3, *2 * (model.card.input.size,)) for model in models}
    runners: dict[str, Runner] = {GEMM: lambda: torch.mm(a, b, out=product)}
    runners |= {model.card.name: partial(model.features, inputs[model.card.name]) for model in models}
    found = race(runners, rounds=n["rounds"], images=n["batch"], title=f"products and passes in {precision}")
    rates = 2 * SIDE**3 / found.seconds[GEMM] / 1e9
    peak = estimate(
        f"limits: GEMM, {precision}",
        rates,
        unit="GFLOP/s",
        statistic=median,
        meaning=f"Rate of {SIDE} x {SIDE} matrix products, the most that a network could reach.",
    )
    return [peak, *(_share(model, inputs[model.card.name], found, rates, n) for model in models)]


def _share(model: Model, inputs: Tensor, found: Race, peaks: NDArray[np.float64], n: Sizes) -> Figure:
    """By rounds: a pass beside the product of the same round."""
    operations = _operations(model, inputs[:1]) * len(inputs)
    figure = estimate(
        f"limits: share of the {model.precision} GEMM peak, {model.card.name}, batch {len(inputs)}",
        operations / found.seconds[model.card.name] / 1e9 / peaks,
        unit="",
        statistic=median,
        target=">= 0.7" if model.card.architecture == "resnet18" else None,
        meaning="Arithmetic of the forward pass by time, relative to a matrix product of the same round.",
    )
    if figure.met is not False:
        return figure
    return figure.explained(_where_time_goes(*_layers(model, inputs, n["rounds"]), float(np.median(peaks))))


def _where_time_goes(layers: list[Layer], whole: float, peak: float) -> str:
    """`whole` is the forward pass's seconds, `peak` in GFLOP/s."""
    within = sum(layer.seconds for layer in layers)
    together = sum(layer.operations for layer in layers) / within / 1e9
    slowest, fastest = min(layers, key=lambda layer: layer.rate), max(layers, key=lambda layer: layer.rate)
    return (
        f"Convolutions take {within / whole:.0%} of the time and reach {together / peak:.0%} of the peak together: the "
        f"slowest, {slowest.name}, {slowest.rate / peak:.0%} in {slowest.seconds / whole:.0%} of the time, the "
        f"fastest, {fastest.name}, {fastest.rate / peak:.0%}. The rest of the time goes to additions, ReLUs and "
        "pooling, which multiply nothing."
    )


def _layers(model: Model, inputs: Tensor, rounds: int) -> tuple[list[Layer], float]:
    """The convolutions of a trunk, and the seconds of the whole pass; medians of the rounds."""
    trunk = _plain(model)
    operations, names = _by_convolution(trunk, inputs), _names(trunk)
    rounds_of: dict[str, list[float]] = {name: [] for name in operations}
    whole = []
    for _ in range(rounds):
        taken = dict.fromkeys(operations, 0.0)

        def add(layer: nn.Module, out: Tensor, seconds: float, taken: dict[str, float] = taken) -> None:
            taken[layer.name if isinstance(layer, Convolution) else names[layer]] += seconds

        with _hooked(model.trunk, add):
            start = time.perf_counter()
            model.features(inputs)
            whole.append(time.perf_counter() - start)
        for name, seconds in taken.items():
            rounds_of[name].append(seconds)
    return [Layer(name, count, middle(rounds_of[name])) for name, count in operations.items()], middle(whole)


def _by_convolution(trunk: nn.Module, inputs: Tensor) -> dict[str, int]:
    """Floating-point operations of each convolution by its name."""
    names = _names(trunk)
    found: dict[str, int] = {}

    def count(layer: nn.Module, out: Tensor, taken: float) -> None:
        assert isinstance(layer, nn.Conv2d)
        found[names[layer]] = 2 * out.numel() * layer.weight[0].numel()

    with _hooked(trunk, count), torch.inference_mode():
        trunk(inputs.to(next(trunk.parameters()).dtype))
    return found


def _names(trunk: nn.Module) -> dict[nn.Module, str]:
    return {module: name for name, module in trunk.named_modules()}


@contextmanager
def _hooked(trunk: nn.Module, heard: Callable[[nn.Module, Tensor, float], None]) -> Iterator[None]:
    """Hear of each convolution's output and seconds, as it is called."""
    began: list[float] = []

    def enter(layer: nn.Module, given: Any) -> None:
        began.append(time.perf_counter())

    def leave(layer: nn.Module, given: Any, out: Tensor) -> None:
        heard(layer, out, time.perf_counter() - began.pop())

    convolutions = [module for module in trunk.modules() if isinstance(module, nn.Conv2d | Convolution)]
    handles = [module.register_forward_pre_hook(enter) for module in convolutions]
    handles += [module.register_forward_hook(leave) for module in convolutions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _plain(model: Model) -> nn.Module:
    """The trunk whose convolutions are torch's own layers."""
    trunk = model.trunk.trunk if isinstance(model.trunk, InBf16) else model.trunk
    return trunk.plain if isinstance(trunk, Fused) else trunk


def _operations(model: Model, inputs: Tensor) -> int:
    """Floating-point operations of one forward pass; a multiplication with its addition counts as two."""
    return sum(_by_convolution(_plain(model), inputs).values())
