"""Torchvision, importable beside a CPU-only torch.

The registry's torchvision wheel is built against CUDA. Next to a CPU-only torch its native library does not load,
and the import then fails while registering fake kernels for operators that were never declared. The networks that
Pathlight takes from torchvision use no native operator, so declaring the two schemas is all that is missing.
Everything that needs torchvision imports it from here.
"""

import torch

__all__ = ["resnet", "torchvision"]

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _native_library_loads() -> bool:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed; run: make run (or pip install .)")
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
        return True
    return False


if torch.version.cuda is None and not _native_library_loads():
    _library = torch.library.Library("torchvision", "DEF")
    for _schema in _SCHEMAS.values():
        _library.define(_schema)

import torchvision  # noqa: E402 - the schemas must exist before torchvision registers its fake kernels
from torchvision.models import resnet  # noqa: E402
