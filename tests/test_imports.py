"""The walls between the packages, checked on the code itself and in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import REPOSITORY

OURS = {"web", "worker", "shared", "cli", "client", "training", "bench", "tests"}
ALLOWED = {
    "shared": {"shared"},
    "web": {"web", "shared"},
    "worker": {"worker", "shared"},
    "client": {"client"},
    "cli": OURS - {"tests"},
    "training": OURS - {"tests"},
    "bench": OURS - {"tests"},
}
PURE = (
    *("maps.py", "tree.py", "decisions.py", "paths.py", "explain.py", "forward.py", "proof.py", "inputs.py"),
    *("methods/*.py", "trust/*.py"),
)
PURE_ALLOWED = {
    "numpy",
    "torch",
    "captum",
    "PIL",
    "shared",
    "worker",
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "importlib",
    "math",
    "typing",
}


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, at its top or inside its functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_rule_allows(package: str) -> None:
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        assert imported(path) & OURS <= ALLOWED[package], path.name


@pytest.mark.parametrize("module", PURE)
def test_the_mathematics_knows_no_queue_no_web_and_no_environment(module: str) -> None:
    paths = list((REPOSITORY / "worker").glob(module))
    assert paths
    for path in paths:
        assert imported(path) <= PURE_ALLOWED, path.name


@pytest.mark.parametrize("package", ["web", "shared"])
def test_no_torch_in_a_front_end_process(package: str) -> None:
    modules = sorted(
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in (REPOSITORY / package).rglob("*.py")
        if path.name != "__init__.py"
    )
    code = (
        f"import sys, {package}, {', '.join(modules)}; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_no_web_framework_in_a_worker_process() -> None:
    code = "import sys, worker.tasks, worker.answers, worker.drain, worker.shelf; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_the_parent_of_the_pool_loads_no_torch() -> None:
    code = "import sys, worker.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_a_worker_loads_torchs_compiler_only_when_somebody_asks_it() -> None:
    code = (
        "import sys, worker.explain; assert 'torch._dynamo' not in sys.modules;"
        "import torchvision; roi_align = sys.modules['torchvision.ops.roi_align'];"
        "import torch; assert roi_align.is_compile_supported('cpu') == torch._dynamo.utils.is_compile_supported('cpu')"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
