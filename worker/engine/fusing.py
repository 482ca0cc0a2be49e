"""Convolutions that add and rectify (ReLU or ReLU6) as they go: what follows one is done while its output is at hand,
and its weights lie as this processor reads them fastest.

The operations are those that torch.compile gives to oneDNN, which need no compiler. They have no gradients; where those
are asked for, the trunk as it was serves.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from worker.engine.anatomy import Shapes
from worker.engine.folding import is_bare
from worker.engine.packing import PackedWeight
from worker.engine.padding import widen

TOLERANCE = {
    torch.float32: 1e-4,
    torch.bfloat16: 0.05,
}  # of the largest feature; sums are rounded less often than before
PROBES = 2  # random pictures on which both must give the same

_ADDITIONS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class Rectifier:
    """An activation that oneDNN applies to the output of a convolution; `scalars` are its parameters."""

    name: str
    scalars: tuple[float, ...] = ()


RELU = Rectifier("relu")
RELU6 = Rectifier("hardtanh", (0.0, 6.0))
_RECTIFYING_MODULES: Mapping[type[nn.Module], Rectifier] = {nn.ReLU: RELU, nn.ReLU6: RELU6}
_RECTIFYING_FUNCTIONS: Mapping[object, Rectifier] = {
    torch.relu: RELU,
    nn.functional.relu: RELU,
    nn.functional.relu6: RELU6,
}
_RECTIFYING_METHODS = {"relu": RELU, "relu_": RELU}


class Fused(nn.Module):
    """A trunk and its quicker twin."""

    def __init__(self, plain: nn.Module, quick: nn.Module) -> None:
        super().__init__()
        self.plain = plain
        self.quick = quick

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = (self.plain if x.requires_grad else self.quick)(x)
        return features


class Convolution(nn.Module):
    """A convolution, perhaps the sum of its output and another tensor, perhaps the positive part of it all. `name` is
    that of the trunk's own layer."""

    def __init__(self, layer: nn.Conv2d, *, name: str, rectifier: Rectifier | None, overwrite: bool) -> None:
        super().__init__()
        self.name = name
        self._weight = PackedWeight(layer)
        self._bias = layer.bias
        self.rectifier = rectifier
        self._overwrite = overwrite  # the tensor that is added is nobody else's, and may hold the sum

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        layer = (self._weight.layout_for(x), self._bias, *self._weight.geometry)
        after = self.rectifier.name if self.rectifier else None
        scalars = list(self.rectifier.scalars) if self.rectifier else []
        out: Tensor
        if other is None:
            out = torch.ops.mkldnn._convolution_pointwise(x, *layer, after or "none", scalars, "")
        elif self._overwrite:
            out = torch.ops.mkldnn._convolution_pointwise_.binary(other, x, *layer, "add", 1.0, after, scalars, "")
        else:
            out = torch.ops.mkldnn._convolution_pointwise.binary(x, other, *layer, "add", 1.0, after, scalars, "")
        return out

    def __deepcopy__(self, memo: dict[int, object]) -> Convolution:
        return self  # nothing in it ever changes, and torch cannot copy weights that lie so


class RectifiedPool(nn.Module):
    """Max pooling of bf16 numbers of which none is negative. Their bits, read as integers, have the same order, and
    integers are compared as they are, where bf16 numbers are made longer first.

    The poolings that halve a picture of even sides are done rows first and then columns: in a third to two thirds of
    the time, and without a table of where the largest were.
    """

    def __init__(self, layer: nn.MaxPool2d) -> None:
        super().__init__()
        self._layer = layer
        rest = (layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
        self._pairs = layer.kernel_size == 2 and rest == (2, 0, 1, False)
        self._triples = layer.kernel_size == 3 and rest == (2, 1, 1, False)

    def forward(self, x: Tensor) -> Tensor:
        bits = x.view(torch.int16)
        if (self._pairs or self._triples) and x.shape[2] % 2 == x.shape[3] % 2 == 0:
            rows = _halved(bits, 2, triples=self._triples)
            return _halved(rows, 3, triples=self._triples).view(torch.bfloat16)
        largest: Tensor = self._layer(bits)
        return largest.view(torch.bfloat16)


def _halved(values: Tensor, dim: int, *, triples: bool) -> Tensor:
    """The largest of every two values along a dimension, or of these and the one before them."""
    first, second = values.unflatten(dim, (-1, 2)).unbind(dim + 1)
    largest = torch.maximum(first, second)
    if triples:
        behind = largest.narrow(dim, 1, largest.shape[dim] - 1)
        torch.maximum(behind, second.narrow(dim, 0, second.shape[dim] - 1), out=behind)
    return largest


def fuse(trunk: nn.Module, *, size: int) -> nn.Module:
    """A trunk in evaluation mode with its quicker twin, where it has convolutions to gain by, lies on a processor whose
    torch has oneDNN, can be traced, and gives the same features of random pictures of `size` pixels a side."""
    weight = next((layer.weight for layer in trunk.modules() if type(layer) is nn.Conv2d), None)
    if weight is None or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return trunk
    probe = torch.randn(PROBES, 3, size, size, generator=torch.Generator().manual_seed(0))
    inputs = probe.to(weight.dtype).contiguous(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            quick = _quick(trunk, inputs)
            features, own = trunk(inputs), quick(inputs)
    except Exception:  # a network may do what it likes with the stand-ins that a trace sends through it
        return trunk
    largest = float(features.abs().max())
    same = own.shape == features.shape and float((own - features).abs().max()) <= TOLERANCE[weight.dtype] * largest
    return Fused(trunk, quick).eval() if same else trunk


def _quick(trunk: nn.Module, inputs: Tensor) -> fx.GraphModule:
    module = fx.GraphModule(trunk, fx.Tracer().trace(trunk))
    for node in _calls(module, nn.Identity):
        node.replace_all_uses_with(node.all_input_nodes[0])
        module.graph.erase_node(node)
    for node in _calls(module, nn.ZeroPad2d):
        _take_in_padding(module, node)
    shapes = Shapes(module)
    shapes.run(inputs)
    for number, node in enumerate(_calls(module, nn.Conv2d)):
        _fuse(module, node, shapes.by_node, name=f"convolution_{number}")
    if inputs.dtype is torch.bfloat16:
        _pool_integers(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    return module.eval()


def _calls(module: fx.GraphModule, kind: type[nn.Module]) -> Iterator[fx.Node]:
    """The calls of bare modules of one kind, and not of its subclasses, which may do more."""
    for node in list(module.graph.nodes):
        layer = _layer(module, node)
        if type(layer) is kind and is_bare(layer):
            yield node


def _layer(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _fuse(module: fx.GraphModule, node: fx.Node, shapes: dict[fx.Node, torch.Size], *, name: str) -> None:
    """Put a convolution and what follows it alone, an addition and then a ReLU, into one."""
    layer = _layer(module, node)
    assert isinstance(layer, nn.Conv2d)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return
    last, other = node, _added(node, shapes)
    overwrite = other is not None and _is_spent(module, other, node)
    if other is not None:
        (last,) = node.users
    rectifier = _rectifier(module, next(iter(last.users))) if len(last.users) == 1 else None
    if rectifier:
        (last,) = last.users
    (source,) = node.all_input_nodes
    fusion = Convolution(layer, name=str(node.target), rectifier=rectifier, overwrite=overwrite)
    module.add_submodule(name, fusion)
    with module.graph.inserting_after(last):
        fused = module.graph.call_module(name, (source,) if other is None else (source, other))
    shapes[fused] = shapes[last]
    last.replace_all_uses_with(fused)


def _take_in_padding(module: fx.GraphModule, node: fx.Node) -> None:
    """Let the convolution pad by itself that alone takes what a node pads, where that is faster."""
    layer = _layer(module, node)
    assert isinstance(layer, nn.ZeroPad2d)
    user = next(iter(node.users))
    follower = _layer(module, user)
    calls = [one for one in module.graph.nodes if one.target == user.target]
    if len(node.users) > 1 or len(calls) > 1 or type(follower) is not nn.Conv2d or not is_bare(follower):
        return
    wide = widen(follower, layer.padding)
    if wide is None:
        return
    module.add_submodule(str(user.target), wide)
    node.replace_all_uses_with(node.all_input_nodes[0])
    module.graph.erase_node(node)


def _pool_integers(module: fx.GraphModule) -> None:
    """Where max pooling directly follows a convolution that rectifies."""
    for number, node in enumerate(_calls(module, nn.MaxPool2d)):
        (source,) = node.all_input_nodes
        before, layer = _layer(module, source), _layer(module, node)
        if isinstance(before, Convolution) and before.rectifier:
            assert isinstance(layer, nn.MaxPool2d)
            node.target = f"pool_{number}"
            module.add_submodule(node.target, RectifiedPool(layer))


def _added(node: fx.Node, shapes: dict[fx.Node, torch.Size]) -> fx.Node | None:
    """The tensor of the same shape to which alone a node's value is added."""
    user = next(iter(node.users))
    if len(node.users) > 1 or user.op != "call_function" or user.target not in _ADDITIONS or user.kwargs:
        return None
    others = [one for one in user.args if one is not node]
    other = others[0] if len(others) == 1 else None
    return other if isinstance(other, fx.Node) and shapes.get(other) == shapes[node] else None


def _is_spent(module: fx.GraphModule, other: fx.Node, node: fx.Node) -> bool:
    """Whether a tensor is a convolution's own output, read before it is added to `node` by layers that keep none of it,
    and never after."""
    (addition,) = node.users
    nodes = list(module.graph.nodes)
    rest = [user for user in other.users if user is not addition]
    return isinstance(_layer(module, other), (nn.Conv2d, Convolution)) and all(
        isinstance(_layer(module, user), (nn.Conv2d, Convolution, nn.BatchNorm2d))
        and nodes.index(user) < nodes.index(addition)
        for user in rest
    )


def _rectifier(module: fx.GraphModule, node: fx.Node) -> Rectifier | None:
    """What a node applies to a convolution's output, where oneDNN can do it on the way; exact types alone."""
    if node.op == "call_module":
        layer = _layer(module, node)
        return _RECTIFYING_MODULES.get(type(layer)) if layer is not None else None
    if node.op == "call_method":
        return _RECTIFYING_METHODS.get(str(node.target))
    return _RECTIFYING_FUNCTIONS.get(node.target)
