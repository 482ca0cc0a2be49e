"""`pathlight bulk` as its page says, and through a service that is killed in the middle, as is the command itself."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.bulk_faults import differences, trial
from cli.main import main
from shared.settings import REPOSITORY
from tests.conftest import encoded
from tests.flow.conftest import Service
from tests.shared.test_archives import zipped

PAGE = (REPOSITORY / "docs" / "bulk.md").read_text("utf-8")


def commands(program: str) -> list[str]:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith(program)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What somebody has who reads the page: a folder, an archive and a list of pictures."""
    files = {f"{label}/{i}.png": _picture(10 * i + len(label)) for label in ("cat", "ship") for i in range(2)}
    for name, data in files.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    (tmp_path / "photos.zip").write_bytes(zipped(files))
    (tmp_path / "labelled.csv").write_text("path,label,box\nphotos/cat/0.png,cat,1 2 30 31\nphotos/ship/1.png,ship,\n")
    return tmp_path


def _picture(number: int) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)))


def test_the_commands_of_the_page_do_what_it_says(
    shared_service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PORT", str(shared_service.client.base_url.port))
    monkeypatch.setenv("PATHLIGHT_HOME", str(folder / "home"))
    assert len(commands("pathlight bulk")) == 4
    for command in commands("pathlight bulk"):
        done = CliRunner().invoke(main, shlex.split(command)[1:])
        assert done.exit_code == 0, (command, done.output)
    tables = {out: pq.read_table(folder / out / "results.parquet").to_pylist() for out in ("result", "zipped", "boxes")}
    assert [row["label"] for row in tables["result"]] == ["cat", "cat", "ship", "ship"]
    assert [row["path"] for row in tables["zipped"]] == ["cat/0.png", "cat/1.png", "ship/0.png", "ship/1.png"]
    assert [row["nbdt-cifar10:cam:outside_box"] is None for row in tables["boxes"]] == [False, True]
    assert all(any((folder / "boxes" / row["artifacts"]).glob("*.overlay.png")) for row in tables["boxes"])
    some = pq.read_table(folder / "some" / "results.parquet").to_pylist()
    assert all(row["nbdt-cifar10:gradcam:least"] is not None for row in some)
    for column in re.findall(r"`(?:MODEL)?:([a-z_]+)`", PAGE):
        assert any(name.endswith(f":{column}") for name in tables["result"][0]), column
    for name in ("report.html", "results.csv", "figures", "parts"):
        assert (folder / "result" / name).exists()


def test_the_pages_request_makes_a_batch(shared_service: Service, folder: Path) -> None:
    (command,) = commands("curl")
    address = f"http://127.0.0.1:{shared_service.client.base_url.port}"
    words = shlex.split(command.replace("http://127.0.0.1:8000", address))
    sent = subprocess.run([*words, "--silent"], cwd=folder, capture_output=True, text=True, check=True)
    batch = json.loads(sent.stdout)
    assert (batch["total"], batch["name"]) == (4, "photos.zip")


@pytest.mark.timeout(600)  # it waits for a lost lease, and others may be at work
def test_pictures_survive_the_death_of_client_and_worker(tmp_path: Path, shared_data: Path) -> None:
    """Once; `make bulk-faults` kills them twice."""
    verdict = trial(96, tmp_path, strikes=(0.3,))
    log = (tmp_path / "log").read_text()
    assert (verdict.strikes, verdict.rows, verdict.known) == (2, 96, 96), log
    assert verdict.differences == []
    assert all(figure.met is not False for figure in verdict.figures())


def test_a_difference_between_two_tables_is_named() -> None:
    row = {"path": "a.png", "job": "x", "m:logit": 1.0, "m:path": "cat (90.00%)"}
    assert differences([row], [{**row, "job": "y", "m:logit": 1.00001, "m:path": "cat (90.01%)"}]) == []
    assert differences([row], [{**row, "m:logit": 1.1}]) == ["a.png m:logit: 1.0, not 1.1"]
    assert differences([row], [row, row]) == ["the pictures differ, or their order"]
