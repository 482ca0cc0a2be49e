"""Each role has its own packages, all of them and no others; where a command misses some, it says how to get them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from cli.doctor import ROLES
from shared import distribution
from shared.settings import REPOSITORY, Settings
from tests.environments import EXTRAS, OURS, installed, listed, names, owners, python_with

CLIENT = REPOSITORY / "client" / "pathlight_client"
# The extras that a package's modules may import from, beside the dependencies that every role has.
MAY_IMPORT = {
    "shared": ("s3",),
    "cli": ("bulk", "embedded"),
    "web": ("web",),
    "worker": ("worker", "timm"),
    "training": ("worker",),
}
# The environment in which all modules of a package can be imported.
IMPORTED_IN = {"shared": (), "cli": ("bulk",), "web": ("web",), "worker": ("worker",), "training": ("worker",)}
WEB = {"flask", "flask-openapi3", "gunicorn", "werkzeug"}
WORKER = {"captum", "pytorchcv", "safetensors", "timm", "torch", "torchvision"}
# Nobody imports them: they are run, read by mypy or, as networkx, held at a version for another package.
NOT_IMPORTED = {
    *("mypy", "networkx", "pip-audit", "pytest-timeout", "pytest-xdist", "ruff", "schemathesis", "setuptools"),
    "types-pyyaml",
}


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from statements(node)


@cache
def parsed(path: Path) -> list[ast.AST]:
    return list(statements(ast.parse(path.read_text("utf-8"))))


def imported(path: Path) -> set[str]:
    """Top-level names of what a file imports of others, at its top or within its functions."""
    found = set()
    for node in parsed(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found - OURS - sys.stdlib_module_names


def looked_for(path: Path) -> set[str]:
    """Names of modules that a file looks for without importing them: their data is wanted."""
    return {
        node.args[0].value
        for node in parsed(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "find_spec"
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def used_by(*packages: str) -> set[str]:
    """The distributions that packages import, or whose files they read."""
    modules = {name for package in packages for path in sources(package) for name in imported(path) | looked_for(path)}
    return owned(modules)


def owned(modules: Iterable[str]) -> set[str]:
    """The distributions that bring modules."""
    return {owner for module in modules for owner in owners().get(module, ())}


def weights() -> set[str]:
    """The distributions that bring the weights of models."""
    cards = [json.loads(path.read_text("utf-8")) for path in (REPOSITORY / "models").glob("*/card.json")]
    return {canonicalize_name(card["weights"]["package"]) for card in cards if card["weights"].get("package")}


# -- what is listed is what is imported --------------------------------------------------------------------------------


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_what_a_package_imports_is_listed_for_its_role(package: str) -> None:
    allowed = names(listed(*MAY_IMPORT[package]))
    for path in sources(package):
        unlisted = {name for name in imported(path) if owned([name]).isdisjoint(allowed)}
        assert not unlisted, path.relative_to(REPOSITORY)


def test_what_every_role_has_is_used_by_what_every_role_has() -> None:
    assert names(listed()) - used_by("shared", "cli") - weights() == set()


@pytest.mark.parametrize("extra", distribution.BROUGHT)
def test_each_package_of_an_extra_is_used_by_those_that_the_extra_is_for(extra: str) -> None:
    users = [package for package, extras in MAY_IMPORT.items() if extra in extras]
    assert (names(listed(extra)) - names(listed())) - used_by(*users) == set()


def test_what_the_tests_bring_is_used_by_tests_or_measurements() -> None:
    assert (names(listed("test")) - names(listed())) - used_by("tests", "bench", "training") - NOT_IMPORTED == set()


def test_the_code_names_what_each_extra_brings() -> None:
    assert distribution.BROUGHT.keys() == EXTRAS.keys() - {"test"}
    for extra, modules in distribution.BROUGHT.items():
        assert owned(modules) == names(listed(extra)) - names(listed()), extra


def test_the_client_imports_httpx_alone() -> None:
    assert {name for path in CLIENT.glob("*.py") for name in imported(path)} == {"httpx"}


# -- the roles' environments -------------------------------------------------------------------------------------------


def test_a_web_server_has_no_torch_and_a_worker_no_flask_whatever_their_packages_depend_on() -> None:
    web, worker = installed(listed("web")), installed(listed("worker"))
    assert web >= WEB and web.isdisjoint(WORKER)
    assert worker >= WORKER - {"timm"} and worker.isdisjoint(WEB)


@pytest.mark.parametrize("package", IMPORTED_IN)
def test_every_module_is_imported_where_only_its_roles_packages_are(package: str) -> None:
    modules = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in sources(package)]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    command = [*python_with(installed(listed(*IMPORTED_IN[package]))), f"import {', '.join(modules)}"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


# -- what is missing is named ------------------------------------------------------------------------------------------


def said(*words: str, folder: Path, extras: Sequence[str] = (), but: Sequence[str] = ()) -> str:
    """What a command that fails says in the environment of some extras."""
    python = python_with(installed(listed(*extras)), but=but)
    command = [*python, "from cli.main import main; main()", *words]
    given = Settings(home=folder / "home").to_environment() | {"PYTHONPATH": str(REPOSITORY), "PATH": "/nowhere"}
    ended = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "photo.jpg"),
        ("models", "remove", "mine"),
        ("models", "fetch"),
        ("bulk", "photos", "--out", "out", "--local"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_worker_says_so_in_a_web_servers_environment(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    told = said(*words, extras=("web", "bulk"), folder=tmp_path)
    assert told.rstrip().endswith("; run: .venv/bin/pip install -e '.[worker]'")
    assert " torch" in told


@pytest.mark.parametrize(("here", "lacking"), [("web", "worker"), ("worker", "web")])
def test_a_whole_service_does_not_start_with_half_of_its_packages(here: str, lacking: str, tmp_path: Path) -> None:
    told = said("run", extras=(here, "embedded"), folder=tmp_path)
    assert told.rstrip().endswith(f"; run: .venv/bin/pip install -e '.[{lacking}]'")
    assert not (tmp_path / "home").exists()


def test_without_either_role_one_command_brings_both(tmp_path: Path) -> None:
    assert "run: .venv/bin/pip install -e '.[web,worker]'" in said("run", folder=tmp_path)


def test_optional_parts_and_the_client_are_named_too(tmp_path: Path) -> None:
    table = said("bulk", "photos", "--out", "out", folder=tmp_path)
    assert table == "Error: pyarrow is not installed; run: .venv/bin/pip install -e '.[bulk]'\n"
    client = said("submit", "photo.jpg", but=["pathlight_client"], folder=tmp_path)
    assert client == "Error: pathlight_client is not installed; run: .venv/bin/pip install -e ./client\n"
    assert "or run: .venv/bin/pip install -e '.[embedded]'" in said("doctor", folder=tmp_path)


@pytest.mark.parametrize(("here", "other"), [("web", "worker"), ("worker", "web")])
def test_the_doctor_misses_nothing_of_the_other_role(here: str, other: str, tmp_path: Path) -> None:
    found = said("doctor", extras=[here], folder=tmp_path).splitlines()
    (line,) = (line for line in found if f"not needed for {here}; .venv/bin/pip install -e '.[{other}]'" in line)
    assert ROLES[other][0] in line and "MEND" not in line
    assert not [line for line in found if "is not installed" in line]


def test_the_doctor_misses_the_rest_of_half_a_role(tmp_path: Path) -> None:
    python = python_with(installed(listed("web", "worker")) - {"torchvision"})
    code = "from cli.doctor import _roles; print(*(finding.sentence for finding in _roles() if not finding.good))"
    ended = subprocess.run([*python, code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == "torchvision is not installed; run: .venv/bin/pip install -e '.[worker]'\n"


def test_a_module_of_nobodys_extra_has_no_remedy() -> None:
    assert distribution.remedy("cli.nothing") is None and distribution.remedy("") is None
    assert distribution.remedy("torch.nn") == distribution.install("worker")


def test_here_nothing_is_missing() -> None:
    distribution.need("web", "worker")


@pytest.mark.usefixtures("store")
def test_a_worker_without_its_packages_ends_with_the_remedy(settings: Settings) -> None:
    celery = "import runpy, sys; sys.argv[0] = 'celery'; runpy.run_module('celery', run_name='__main__')"
    words = ("--app", "worker.app", "worker", "--queues", "drain", "--pool", "solo")
    command = [*python_with(installed(listed("web"))), celery, *words]
    given = settings.to_environment() | {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert "run: .venv/bin/pip install -e '.[worker]'" in ended.stdout + ended.stderr
