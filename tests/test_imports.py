"""The walls between the packages, checked on the code itself and in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import REPOSITORY

OURS = {"web", "worker", "shared", "cli", "pathlight_client", "training", "bench", "tests"}
FOLDERS = {"pathlight_client": "client/pathlight_client"}  # the other packages are called as their folders are
ALLOWED = {
    "shared": {"shared"},
    "web": {"web", "shared"},
    "worker": {"worker", "shared"},
    "pathlight_client": {"pathlight_client"},
    "cli": OURS - {"tests"},
    "training": OURS - {"tests"},
    "bench": OURS - {"tests"},
}
PURE = (
    *("algebra/*.py", "methods/*.py", "trust/*.py", "engine/inputs.py"),
    *(f"explain/{name}.py" for name in ("paths", "explanations", "forward", "proof", "evidence", "differences")),
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


def modules_imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports from."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module and node.level == 0}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_rule_allows(package: str) -> None:
    paths = sorted((REPOSITORY / FOLDERS.get(package, package)).rglob("*.py"))
    assert paths
    for path in paths:
        assert imported(path) & OURS <= ALLOWED[package], path.name


# Rooms from above; each may import those behind it, and modules that stand alone.
FLOORS = {
    "web": ("pages", "api", "http"),
    "worker": ("queue", "explain", "trust", "methods", "engine", "algebra"),
    "shared": ("report", "drawing", "images", "store", "outbound", "blobs", "answer", "cards"),
}


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_climbs_a_floor(package: str) -> None:
    floors = FLOORS[package]
    rooms = {path.parent.name for path in (REPOSITORY / package).glob("*/__init__.py")}
    assert set(floors) == rooms
    for number, room in enumerate(floors):
        above = {f"{package}.{other}" for other in floors[:number]}
        for path in sorted((REPOSITORY / package / room).rglob("*.py")):
            climbing = {name for name in modules_imported(path) if ".".join(name.split(".")[:2]) in above}
            assert not climbing, f"{path.relative_to(REPOSITORY)} imports {climbing}"


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
    modules = "worker.queue.tasks, worker.explain.answers, worker.queue.drain, worker.engine.model_cache"
    code = f"import sys, {modules}; sys.exit('flask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_the_parent_of_the_pool_loads_no_torch() -> None:
    code = "import sys, worker.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_a_worker_loads_torchs_compiler_only_when_somebody_asks_it() -> None:
    code = (
        "import sys, worker.explain.explanations; assert 'torch._dynamo' not in sys.modules;"
        "import torchvision; roi_align = sys.modules['torchvision.ops.roi_align'];"
        "import torch; assert roi_align.is_compile_supported('cpu') == torch._dynamo.utils.is_compile_supported('cpu')"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
