"""What is tracked is what a person wrote: nothing that a tool left behind."""

from __future__ import annotations

import subprocess

from shared.settings import REPOSITORY


def test_nothing_that_is_ignored_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    assert listed.stdout == ""


def test_no_tools_folder_is_tracked() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    hidden = {name.split("/")[0] for name in listed.stdout.splitlines() if name.startswith(".")}
    assert hidden == {".ci", ".dockerignore", ".gitignore"}
