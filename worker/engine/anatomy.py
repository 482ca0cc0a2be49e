"""The parts of a network: the trunk, up to its last feature map, and the head, which makes the logits of that map.

They are found in the traced graph of the forward pass, so no architecture has to be known: global average pooling and
one linear layer are looked for from the end backwards, and count only where trunk and head together give the network's
own logits on random input. The trace goes no deeper into the modules than needed, so most blocks stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from shared.cards.methods import NO_FEATURE_MAP, OTHER_HEAD, POOLED_LINEAR
from shared.errors import ModelUnavailable
from worker.algebra.maps import logits_of

DEEPEST = 4  # levels of modules that a trace goes into
PROBES = 2  # random pictures on which parts must give what the whole gives
TOLERANCE = 1e-3  # of logits, relative and absolute: other kernels may serve the parts
WHOLE = "input"  # what the methods see of a network without a feature map

_PASSING_MODULES = (nn.Identity, nn.Flatten, nn.Dropout, nn.Dropout2d)
_PASSING_FUNCTIONS = (torch.flatten, torch.squeeze, torch.reshape, nn.functional.dropout)
_PASSING_METHODS = ("flatten", "view", "reshape", "squeeze", "contiguous")


class PooledLinear(nn.Module):
    """Global average pooling and one linear layer in fp32, the head that makes class activation maps exact."""

    weight: Tensor  # K x D
    bias: Tensor  # K

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().float())
        self.register_buffer("bias", bias.detach().float())

    def forward(self, features: Tensor) -> Tensor:
        return logits_of(features, self.weight, self.bias)


@dataclass(frozen=True)
class Anatomy:
    """A network in two parts. `kind` is the head's, as model cards name it; `layer` is where the map comes from."""

    kind: str
    layer: str
    trunk: nn.Module  # N x 3 x S x S -> N x D x h x w
    head: nn.Module  # N x D x h x w -> N x K


def dissect(network: nn.Module, *, size: int, kind: str | None = None) -> Anatomy:
    """Find the parts of a network in evaluation mode for pictures of `size` pixels a side; of one kind, where named.

    Raises ModelUnavailable where the network gives no scores, or has not the parts of that kind.
    """
    probe = torch.randn(PROBES, 3, size, size, generator=torch.Generator().manual_seed(0)).to(_device(network))
    logits = _logits(network, probe)
    for found in _candidates(network, probe, kind=kind):
        if _agree(found, probe, logits):
            return found
    raise ModelUnavailable(f"{type(network).__name__} has not the {kind} head that its card names; add the model again")


def _candidates(network: nn.Module, probe: Tensor, *, kind: str | None) -> Iterator[Anatomy]:
    """Possible anatomies, the most telling first, so that the first that holds is the one to take."""
    traces = []
    for depth in range(1, DEEPEST + 1):
        if kind == NO_FEATURE_MAP or (trace := _trace(network, probe, depth)) is None:
            continue
        traces.append(trace)
        if kind != OTHER_HEAD and (found := trace.pooled_linear()):
            yield found
    if kind != POOLED_LINEAR:
        yield from (found for trace in traces if (found := trace.other_head()))
    if kind in (None, NO_FEATURE_MAP):
        yield Anatomy(NO_FEATURE_MAP, WHOLE, nn.Identity(), network)


@torch.inference_mode()
def _logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """N x K fp32 logits."""
    try:
        logits = network(inputs)
    except Exception as error:  # what a network raises for a size that does not suit it is its own affair
        raise ModelUnavailable(
            f"{type(network).__name__} cannot take pictures of {inputs.shape[-1]} pixels ({_first_line(error)}); "
            "give another input size"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
        raise ModelUnavailable(f"{type(network).__name__} is no classifier: it does not give one score for each class")
    if not logits.isfinite().all():
        raise ModelUnavailable(f"{type(network).__name__} gives scores that are not finite; its weights are damaged")
    return logits.float()


@torch.inference_mode()
def _agree(found: Anatomy, probe: Tensor, logits: Tensor) -> bool:
    try:
        own: Tensor = found.head(found.trunk(probe).float())
    except (RuntimeError, TypeError, ValueError):
        return False
    return own.shape == logits.shape and torch.allclose(own.float(), logits, rtol=TOLERANCE, atol=TOLERANCE)


@dataclass(frozen=True)
class _Trace:
    """The graph of a forward pass, and the shape of each tensor in it."""

    module: fx.GraphModule
    shapes: dict[fx.Node, torch.Size]
    paths: dict[fx.Node, tuple[str, ...]]  # the modules that a node lies in, the outermost first

    @property
    def nodes(self) -> list[fx.Node]:
        return list(self.module.graph.nodes)

    def pooled_linear(self) -> Anatomy | None:
        """Walk back from the logits: perhaps a linear layer, then a step from N x D x h x w to N x D, whose mean it
        must turn out to be."""
        node = self._behind(self.nodes[-1])
        rows = None if node is None else self._rows(node)
        if node is not None and rows is not None:
            node = self._behind(node)
        features = None if node is None else self._source(node)
        if node is None or features is None or not self._is_map(features):
            return None
        depth = self.shapes[features][1]
        if self.shapes[node][1:].numel() != depth:
            return None
        device = _device(self.module)
        weight, bias = rows or (torch.eye(depth, device=device), torch.zeros(depth, device=device))
        return Anatomy(POOLED_LINEAR, self._layer(features), self._until(features), PooledLinear(weight, bias))

    def other_head(self) -> Anatomy | None:
        """The last feature map through which everything goes, unless it lies in the first half of the layers: what a
        vision transformer cuts its patches from says too little of its answer."""
        for node in reversed(self.nodes):
            if not self._is_map(node) or (head := self._after(node)) is None:
                continue
            trunk = self._until(node)
            return Anatomy(OTHER_HEAD, self._layer(node), trunk, head) if _layers(trunk) >= _layers(head) else None
        return None

    def _behind(self, node: fx.Node) -> fx.Node | None:
        """What a node takes its values from, less all steps that only change their form."""
        source = self._source(node)
        while source is not None and self._passes(source):
            source = self._source(source)
        return source

    def _source(self, node: fx.Node) -> fx.Node | None:
        """The one tensor that a node takes; None where it takes none or several."""
        tensors = [one for one in node.all_input_nodes if one in self.shapes]
        return tensors[0] if len(tensors) == 1 else None

    def _passes(self, node: fx.Node) -> bool:
        source = self._source(node)
        if source is None or node not in self.shapes or self.shapes[node].numel() != self.shapes[source].numel():
            return False
        if node.op == "call_module":
            return isinstance(self._submodule(node), _PASSING_MODULES)
        return node.target in (_PASSING_METHODS if node.op == "call_method" else _PASSING_FUNCTIONS)

    def _rows(self, node: fx.Node) -> tuple[Tensor, Tensor] | None:
        """Weight (K x D) and bias (K) of a linear layer, which may be written as a 1 x 1 convolution."""
        layer = self._submodule(node)
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
            weight = layer.weight.flatten(1)
            return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
        return None

    def _submodule(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _is_map(self, node: fx.Node) -> bool:
        """Whether a node gives N x D x h x w, several cells of a square; a square picture's map is one."""
        shape = self.shapes.get(node, ())
        return node.op != "placeholder" and len(shape) == 4 and shape[2] == shape[3] > 1

    def _layer(self, node: fx.Node) -> str:
        """The outermost module that ends with this node."""
        path, later = self.paths[node], self.paths.get(node.next, ())
        return next((name for name in path if name not in later), node.name)

    def _until(self, node: fx.Node) -> fx.GraphModule:
        graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        for one in self.nodes[: self.nodes.index(node) + 1]:
            copies[one] = graph.node_copy(one, lambda old: copies[old])
        graph.output(copies[node])
        return _assembled(self.module, graph)

    def _after(self, node: fx.Node) -> fx.GraphModule | None:
        """What makes the logits of a node's value; None where that needs other values of the trunk too."""
        graph = fx.Graph()
        copies = {node: graph.placeholder("features")}
        nodes = self.nodes
        constants = [one for one in nodes if one.op == "get_attr"]
        try:
            for one in (*constants, *nodes[nodes.index(node) + 1 :]):
                if one not in copies:
                    copies[one] = graph.node_copy(one, lambda old: copies[old])
        except KeyError:
            return None
        return _assembled(self.module, graph)


class _Tracer(fx.Tracer):
    """Takes modules as whole from a level on."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self._depth = depth

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name.count(".") + 1 >= self._depth or super().is_leaf_module(m, module_qualified_name)


class Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.by_node: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.by_node[n] = value.shape
        return value


@torch.inference_mode()
def _trace(network: nn.Module, probe: Tensor, depth: int) -> _Trace | None:
    """The graph of a forward pass; None where the network decides its way as it goes, and so has no one graph."""
    try:
        graph = _Tracer(depth).trace(network)
        module = fx.GraphModule(network, graph)
        shapes = Shapes(module)
        shapes.run(probe)
    except Exception:  # a network may do what it likes with the stand-ins that a trace sends through it
        return None
    paths = {node: tuple(str(name) for name in node.meta.get("nn_module_stack", ())) for node in graph.nodes}
    return _Trace(module, shapes.by_node, paths)


def _assembled(module: fx.GraphModule, graph: fx.Graph) -> fx.GraphModule:
    part = fx.GraphModule(module, graph)
    graph.eliminate_dead_code()
    part.recompile()
    part.delete_all_unused_submodules()
    return part.eval()


def _layers(module: nn.Module) -> int:
    """Modules that have weights of their own."""
    return sum(any(True for _ in one.parameters(recurse=False)) for one in module.modules())


def _device(network: nn.Module) -> torch.device:
    return next(iter((*network.parameters(), *network.buffers(), torch.empty(0)))).device


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
