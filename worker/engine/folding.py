"""Batch norm folded into the convolution before it: in evaluation mode both are linear, and one layer does for two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> int:
    """Fold what can be folded of a network in evaluation mode, in place; how many.

    The order of the layers is read from a symbolic trace; a network that cannot be traced stays as it is. Names and
    nesting of the modules stay, with an identity where a batch norm was. The same function, up to rounding.
    """
    pairs = list(_pairs(network))
    for convolution, norm in pairs:
        layer, following = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d)
        network.set_submodule(convolution, fuse_conv_bn_eval(layer, following))
        network.set_submodule(norm, nn.Identity())
    return len(pairs)


def _pairs(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of a convolution and of the batch norm that alone takes its output, each called once."""
    try:
        graph = fx.Tracer().trace(network)
    except Exception:  # a network may do what it likes with the stand-ins that a trace sends through it
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(node.target for node in calls)
    for node in calls:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        names = str(source.target), str(node.target)
        convolution, norm = map(network.get_submodule, names)
        plain = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d  # subclasses may do more
        if plain and is_bare(convolution) and is_bare(norm) and times[source.target] == times[node.target] == 1:
            yield names


def is_bare(module: nn.Module) -> bool:
    """Whether a layer is no more than its own parameters and, for a batch norm, its running statistics."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not hooked and not module.training and getattr(module, "running_mean", True) is not None
