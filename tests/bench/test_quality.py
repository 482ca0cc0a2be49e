"""The whole rig on a few pictures: every figure is there, kept, and written to the page and the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from bench.quality.__main__ import main
from bench.quality.bars import BARS

pytestmark = pytest.mark.slow

PICTURES = 24
IN_PROCESS = (
    "Q1,Q4,Q6,Q8,Q15,Q16,Q17"  # others start processes of their own or look at many changed pictures, which takes long
)


@pytest.fixture(scope="session")
def few(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a few of the held-out pictures of each data set."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("cifar10-test.npz", "photos100-val.npz", "photos1000-sample.npz"):
        with np.load(shared_data / name) as archive:
            chosen = np.linspace(0, len(archive["labels"]) - 1, PICTURES).astype(int)
            data, offsets = archive["images"], archive["offsets"]
            parts = [data[offsets[i] : offsets[i + 1]] for i in chosen]
            arrays = {key: archive[key][chosen] for key in ("labels", "boxes") if key in archive.files}
            arrays |= {key: archive[key] for key in ("names", "wnids") if key in archive.files}
            ends = np.cumsum([0, *map(len, parts)])
            np.savez(folder / name, images=np.concatenate(parts), offsets=ends, **arrays)
    return folder


def rig(*arguments: str, data: Path, keep: Path) -> Result:
    return CliRunner().invoke(main, ["--quick", "--data", str(data), "--keep", str(keep), *arguments])


@pytest.fixture(scope="session")
def kept(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run's results."""
    folder = tmp_path_factory.mktemp("kept")
    result = rig("--only", IN_PROCESS, data=few, keep=folder)
    assert result.exit_code == 0, result.output
    return folder


def test_a_quick_run_measures_every_bar_and_writes_page_and_json(kept: Path) -> None:
    document = json.loads((kept / "quality.json").read_text("utf-8"))
    assert document["context"].keys() == {"cores", "cpu", "versions", "commit", "seed"}
    figures = document["figures"]
    assert {figure["name"].split()[0] for figure in figures} == set(IN_PROCESS.split(","))
    names = [figure["name"] for figure in figures]
    assert len(set(names)) == len(names)
    for figure in figures:
        assert {"name", "value", "unit", "low", "high", "n", "target", "met", "controls"} <= figure.keys()
        assert (figure["value"] is None) == (figure["reason"] is not None)
        assert figure["value"] is None or figure["meaning"]
    page = (kept / "quality.md").read_text("utf-8")
    for figure in figures:
        assert figure["name"] in page
    for number in IN_PROCESS.split(","):
        assert f"## {number} {BARS[number].title}" in page


def test_exactness_holds_and_the_controls_that_must_fail_do(kept: Path) -> None:
    document = json.loads((kept / "quality.json").read_text("utf-8"))
    sure = [f for f in document["figures"] if f["name"].startswith("Q1 ") or "flagged: edge detector" in f["name"]]
    assert len(sure) == 8
    sure += [f for f in document["figures"] if "certificate, efficientnet" in f["name"] or " map, fp" in f["name"]]
    sure += [f for f in document["figures"] if "original network" in f["name"]]
    assert len(sure) == 15
    assert all(figure["met"] for figure in sure)


def test_figures_on_photographs_that_were_probably_seen_say_so_and_are_listed(kept: Path) -> None:
    page = (kept / "quality.md").read_text("utf-8")
    listed = page.partition("## Photographs that were probably seen in training")[2]
    figures = json.loads((kept / "quality.json").read_text("utf-8"))["figures"]
    on_photographs = [f for f in figures if f["name"].startswith("Q15 top") or "photographs" in f["name"]]
    assert len(on_photographs) > 10
    for figure in on_photographs:
        assert "probably seen in training" in figure["meaning"]
        assert f"- {figure['name']}\n" in listed


def test_a_bar_that_is_neither_run_nor_kept_stays_as_it_stands(kept: Path, few: Path, tmp_path: Path) -> None:
    for path in (kept / "quality.json", *kept.glob("Q6-*.json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert rig("--only", "Q6", data=few, keep=tmp_path).exit_code == 0
    before, after = (json.loads((folder / "quality.json").read_text("utf-8")) for folder in (kept, tmp_path))
    assert after["figures"] == before["figures"]
    assert set(after["context"]["earlier"]) == set(IN_PROCESS.split(",")) - {"Q6"}
    assert "## Measured in an earlier run" in (tmp_path / "quality.md").read_text("utf-8")


def test_without_the_photographs_their_bars_say_so(few: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cifar10-test.npz", "photos100-val.npz"):
        (folder / name).symlink_to(few / name)
    assert rig("--only", "Q15,Q16,Q17", data=folder, keep=tmp_path / "keep").exit_code == 0
    figures = json.loads((tmp_path / "keep" / "quality.json").read_text("utf-8"))["figures"]
    assert len(figures) == 3
    assert all("photographs is not beside the project" in figure["reason"] for figure in figures)


def test_a_bar_that_was_measured_is_not_measured_again_but_by_order(kept: Path, few: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in kept.glob("Q*.json")}
    again = rig("--only", "Q6", data=few, keep=kept)
    assert again.exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept.glob("Q*.json")} == before
    assert {"Q1", "Q6"} <= {f["name"].split()[0] for f in json.loads((kept / "quality.json").read_text())["figures"]}
    assert rig("--only", "Q6", "--fresh", data=few, keep=kept).exit_code == 0
    changed = [path.name for path in before if path.stat().st_mtime_ns != before[path]]
    assert [name.split("-")[0] for name in changed] == ["Q6"]


def test_without_the_pictures_every_figure_says_why_it_is_missing(tmp_path: Path) -> None:
    result = rig("--only", "Q1", data=tmp_path / "none", keep=tmp_path / "keep")
    assert result.exit_code == 0
    (figure,) = json.loads((tmp_path / "keep" / "quality.json").read_text("utf-8"))["figures"]
    assert figure["value"] is None
    assert "held-out pictures" in figure["reason"]


def test_a_missed_target_is_an_error_only_where_asked(kept: Path, few: Path) -> None:
    figures = json.loads((kept / "quality.json").read_text("utf-8"))["figures"]
    assert any(figure["met"] is False for figure in figures)  # so few pictures leave wide intervals
    assert rig("--only", "Q6", data=few, keep=kept).exit_code == 0
    strict = rig("--only", "Q6", "--strict", data=few, keep=kept)
    assert strict.exit_code == 1
    assert "missed" in strict.output


def test_an_unknown_bar_is_refused(tmp_path: Path) -> None:
    result = rig("--only", "Q99", data=tmp_path, keep=tmp_path)
    assert result.exit_code == 2
    assert "'Q99' is not a bar" in result.output
