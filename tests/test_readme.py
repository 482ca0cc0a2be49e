"""The README's commands are real: each is run, or is a target or route that exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from shared.settings import REPOSITORY
from tests.conftest import encoded
from tests.documented import commands, inline_code

README = (REPOSITORY / "README.md").read_text("utf-8")
JAPANESE = (REPOSITORY / "README.ja.md").read_text("utf-8")


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"\bmake (\w+)\b", README)) - {"it"}
    known = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    assert {"run", "test", "check", "format", "help"} <= targets <= known


def test_make_help_says_what_each_target_does() -> None:
    shown = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "check", "format"):
        assert f"make {target} " in shown


def test_the_japanese_readme_gives_the_same_commands_folders_and_settings() -> None:
    assert commands(JAPANESE) == commands(README)
    assert inline_code(JAPANESE) == inline_code(README)


@pytest.mark.parametrize("name", ["explain", "submit", "bulk", "models", "doctor"])
def test_the_command_line_teaches_itself(name: str) -> None:
    command = [sys.executable, "-m", "cli", name, "--help"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert len(shown.splitlines()) > 4


def test_make_run_starts_what_the_flow_tests_start() -> None:
    command = ["make", "--dry-run", "--no-print-directory", "--old-file=.venv/.run", "run"]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "exec .venv/bin/pathlight run"


def run_explain(command: str, photo: Image.Image, folder: Path) -> str:
    """What an explain command of the README prints, run where the photo lies."""
    (folder / "photo.jpg").write_bytes(encoded(photo, "JPEG"))
    done = subprocess.run(
        [sys.executable, "-m", "cli", *shlex.split(command)[1:]],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if name.startswith("OMP_")},
            **{"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "PATHLIGHT_HOME": str(folder / "home")},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_readmes_explain_command_prints_the_tutorials_lines_and_writes_its_files(
    photos: dict[str, Image.Image], tmp_path: Path
) -> None:
    command = next(c for c in commands(README) if " explain " in c and "--out" in c)
    printed = run_explain(command, photos["chelsea"], tmp_path)
    path = r"cat // (?:Decisions: )?animal \((.*?)%\), chordate \((.*?)%\), carnivore \((.*?)%\), cat \((.*?)%\)"
    told, found = re.search(path, README), re.search(path, printed)
    assert told and found
    assert [float(p) for p in told.groups()] == pytest.approx([float(p) for p in found.groups()], abs=0.6)
    sure = r"domestic cat \((.*?)%\), most likely\s+tiger cat"
    told, found = re.search(sure, README), re.search(f"Sure answer: {sure}\nVerdict: care. domestic cat", printed)
    assert told and found
    assert float(told[1]) == pytest.approx(float(found[1]), abs=0.6)
    assert "Sure answer: cat (99.9" in printed and "Verdict: believe. cat: " in printed
    assert "Together: EfficientNet-Lite0 on ImageNet-1K answers domestic cat, which is a kind of cat, " in printed
    for folder in (tmp_path / "result", tmp_path / "result" / "nbdt-cifar10"):
        assert {path.name for path in folder.iterdir() if path.is_file()} == {
            "heatmap.png",
            "overlay.png",
            "cam.npy",
            "explanation.json",
        }


@pytest.mark.slow
def test_the_readmes_command_for_another_method_prints_its_proof(
    photos: dict[str, Image.Image], tmp_path: Path
) -> None:
    command = next(c for c in commands(README) if "--trust full" in c)
    printed = run_explain(command, photos["chelsea"], tmp_path)
    assert "Map: cat by rise, 32 x 32 cells, approximate" in printed
    assert re.search(r"in the order of \d+ of 20 random maps", printed)
    assert "Another method, occlusion, orders the parts" in printed
