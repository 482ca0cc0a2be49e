"""What is said about installing never fetches another project's code: `pathlight` is another's name in the registry."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import metadata

import pytest

from shared import distribution
from shared.settings import REPOSITORY
from tests.environments import EXTRAS, PROJECT

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


def test_the_distribution_has_a_name_of_its_own_and_is_never_uploaded() -> None:
    assert PROJECT["name"] == distribution.NAME != "pathlight"
    assert "Private :: Do Not Upload" in PROJECT["classifiers"]
    assert metadata(distribution.NAME)["Name"] == distribution.NAME


def test_each_extra_that_a_hint_names_is_one() -> None:
    for extra in ("s3", "timm", "test"):
        assert extra in EXTRAS and f"-e '.[{extra}]'" in distribution.install(extra)
