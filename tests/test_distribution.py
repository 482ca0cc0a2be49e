"""What is installed is what is said: hints never fetch another project's code (`pathlight` is another's name in the
registry), the client is a distribution of its own, and of the application there is none to be fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from shared import distribution
from shared.settings import REPOSITORY
from tests.documented import commands_of
from tests.environments import EXTRAS, PROJECT, installed, python_with

CLIENT = tomllib.loads((REPOSITORY / "client" / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = {
    name.lower() for name in re.findall(r"[\w.-]+", " ".join([*PROJECT["dependencies"], *sum(EXTRAS.values(), [])]))
}
# Which install rather than say how, or look for what is said.
THEMSELVES = (
    *("Makefile", "Dockerfile"),
    *("tests/test_distribution.py", "tests/test_roles.py", "tests/shared/test_bucket.py"),
)
INSTALLING = re.compile(r"((?:[\w./]*/)?\bpip3?|uv pip|-m pip) (?:install|download) ([^`\"\n]*)")
ELSEWHERE = (
    "bench/runtimes.py",
    "tests/worker/test_efficientnet.py",
)  # a folder of its own; a package that is not there
OURS = re.compile(r"-e '\.\[\{?([\w,]+)\}?\]'")
# What pip builds with where no registry is reached: the tests' own setuptools.
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")


def hints() -> list[tuple[str, str, str]]:
    """Each place that says how to install something: its file, the program, and what follows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    found = []
    for name in listed.stdout.split("\0"):
        path = REPOSITORY / name
        if name in THEMSELVES or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        found += [(name, program, rest) for program, rest in INSTALLING.findall(text)]
    return found


def test_there_are_hints_to_look_at() -> None:
    assert {name for name, _, _ in hints()} >= {"shared/distribution.py", "docs/scaling.md", "docs/models.md"}


@pytest.mark.parametrize(("name", "program", "rest"), hints())
def test_a_hint_installs_this_checkout_or_what_it_depends_on(name: str, program: str, rest: str) -> None:
    if ours := OURS.match(rest):
        assert program == ".venv/bin/pip"
        assert {*EXTRAS, "extras"} >= set(ours[1].split(","))
    elif "./client" in rest:
        assert (program, rest) in {(".venv/bin/pip", "-e ./client"), ("pip", "./client")}
    else:
        packages = {word.partition("==")[0] for word in rest.split() if re.match(r"[a-z]", word)}
        assert "pathlight" not in packages
        assert name in ELSEWHERE or packages <= PINNED


def test_no_text_names_an_extra_of_the_other_project() -> None:
    found = subprocess.run(
        ["git", "grep", "-nI", r"\bpathlight\[", "--", ".", ":!tests/test_distribution.py"],
        check=False,  # it finds nothing
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert found.stdout == ""


def test_the_distributions_have_names_of_their_own_and_are_never_uploaded() -> None:
    assert PROJECT["name"] == distribution.NAME != "pathlight" != CLIENT["name"]
    for project in (PROJECT, CLIENT):
        assert "Private :: Do Not Upload" in project["classifiers"]
    assert metadata(distribution.NAME)["Name"] == distribution.NAME


def test_each_extra_that_a_hint_names_is_one() -> None:
    for extra in ("s3", "timm", "test"):
        assert extra in EXTRAS and f"-e '.[{extra}]'" in distribution.install(extra)


# -- the client --------------------------------------------------------------------------------------------------------


def test_the_client_has_the_applications_version_and_licence_and_asks_for_a_range() -> None:
    assert (CLIENT["version"], CLIENT["license"]) == (PROJECT["version"], PROJECT["license"])
    assert (REPOSITORY / "client" / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    (needed,) = map(Requirement, CLIENT["dependencies"])
    (ours,) = (one for one in map(Requirement, PROJECT["dependencies"]) if one.name == needed.name)
    (pinned,) = ours.specifier
    assert pinned.version in needed.specifier and "==" not in str(needed.specifier)


def test_the_pages_command_installs_the_client_alone(tmp_path: Path) -> None:
    (command,) = commands_of("docs/client.md")
    shutil.copytree(REPOSITORY / "client", tmp_path / "client")
    there = tmp_path / "there"
    pip = [sys.executable, "-m", *command.split(), *OFFLINE, "--target", str(there)]
    subprocess.run(pip, cwd=tmp_path, capture_output=True, check=True)
    (described,) = there.glob("*.dist-info")
    assert described.name == f"pathlight_client-{CLIENT['version']}.dist-info"
    assert {path.name for path in there.iterdir()} == {"pathlight_client", described.name}
    assert (there / "pathlight_client" / "py.typed").exists() and list(described.rglob("LICENSE"))
    code = "import pathlight_client; print(pathlight_client.__file__, pathlight_client.Pathlight.__name__)"
    shown = subprocess.run(
        [*python_with(installed(map(Requirement, CLIENT["dependencies"]))), code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(there)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == [str(there / "pathlight_client" / "__init__.py"), "Pathlight"]


# -- the application ---------------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As a checkout, so that what is built lies apart."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for path in REPOSITORY.iterdir():
        if not path.name.startswith(".") and path.suffix != ".egg-info":
            (folder / path.name).symlink_to(path)
    return folder


def test_there_is_no_wheel_of_the_application_and_pip_says_why(checkout: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", *OFFLINE, "--wheel-dir", str(tmp_path / "wheels"), "."]
    ended = subprocess.run(pip, cwd=checkout, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "it runs from its checkout or its image. In the checkout, run: make run" in ended.stdout + ended.stderr
    assert not list(tmp_path.rglob("*.whl"))


def test_the_application_is_installed_editable(checkout: Path, tmp_path: Path) -> None:
    code = f"import editable_only; print(editable_only.build_editable({str(tmp_path)!r}))"
    built = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    with ZipFile(tmp_path / built.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
        (described,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "pathlight = cli.main:main" in wheel.read(described).decode()
    assert all(name.startswith(("__editable__", f"{distribution.NAME.replace('-', '_')}-")) for name in names), names
