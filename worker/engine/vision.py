"""Torchvision, importable beside a CPU-only torch.

The registry's torchvision wheel is built against CUDA. Next to a CPU-only torch its native library does not load,
and the import then fails while registering fake kernels for operators that were never declared. The networks that
Pathlight takes from torchvision use no native operator, so declaring the two schemas is all that is missing.

The import also loads torch's compiler, for a question that only the operator `roi_align` asks. That takes more than a
second and 70 MB in every process, so the compiler is left to whoever uses it.

Everything that needs torchvision imports it from here.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from shared.cards.class_names import told_apart
from shared.distribution import install

__all__ = ["imagenet_names", "resnet", "torchvision"]

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _native_library_loads() -> bool:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"torchvision is not installed; run: {install('worker')}", name="torchvision")
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
        return True
    return False


@contextmanager
def _compiler_left_out() -> Iterator[None]:
    """Whoever imports torch's compiler in here gets one question of it, which loads it when it is asked."""
    names = ("torch._dynamo", "torch._dynamo.utils")
    if names[0] in sys.modules:
        yield
        return
    stand_ins = {name: ModuleType(name) for name in names}
    vars(stand_ins[names[1]])["is_compile_supported"] = _is_compile_supported
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _is_compile_supported(device: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device))


if torch.version.cuda is None and not _native_library_loads():
    _library = torch.library.Library("torchvision", "DEF")
    for _schema in _SCHEMAS.values():
        _library.define(_schema)

with _compiler_left_out():
    import torchvision  # the schemas must exist before torchvision registers its fake kernels
    from torchvision.models import resnet


def imagenet_names() -> tuple[str, ...]:
    """Torchvision's names of ImageNet's classes. Where it gives two classes one name, as `crane`, they get ours."""
    return told_apart(resnet.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
