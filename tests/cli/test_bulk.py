"""`pathlight bulk` in this process: sources, results, going on after an end, and what is refused."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli.bulk.journal import Journal, JournalPart
from cli.bulk.sources import find_pictures
from shared.errors import AlreadyRunning, InvalidOption
from shared.jobs import JobOptions
from shared.settings import REPOSITORY, Settings
from tests.conftest import encoded, wait_for
from tests.shared.test_archives import zipped

OPTIONS = JobOptions(("nbdt-cifar10",))


def picture(number: int) -> bytes:
    return encoded(Image.fromarray(np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of pictures, a file that is none, and one that is not looked at."""
    for number in range(20):
        place = tmp_path / "photos" / ("cat" if number % 2 else "ship") / f"{number:02d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture(number))
    (tmp_path / "photos" / "cat" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "photos" / "notes.txt").write_text("nothing")
    return tmp_path / "photos"


def names(source: Path | str, out: Path, **options: bool) -> list[tuple[str, str | None]]:
    options.setdefault("folder_labels", False)
    found = find_pictures(str(source), out=out, settings=Settings(), **options)
    return [(one.path, one.label) for one in found.pictures]


def bulk_command(source: Path | str, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "cli", "bulk", str(source), "--out", str(out), "--model", OPTIONS.models[0], *more]


def bulk(source: Path | str, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = bulk_command(source, out, *more)
    environment = {**os.environ, "PATHLIGHT_HOME": str(out / "home"), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


# -- sources -------------------------------------------------------------------------------------------------------


def test_a_folder_gives_its_pictures_in_order_with_their_folders_as_labels(folder: Path, tmp_path: Path) -> None:
    found = names(folder, tmp_path, folder_labels=True)
    assert len(found) == 21
    assert found[0] == ("cat/01.png", "cat") and found[-1] == ("ship/18.png", "ship")


# What lies beside pictures in real folders, and what becomes of it: each way of giving them has one rule.
CLUTTERED = {"a.jpg": True, "b.jfif": True, "c": True, "broken.png": True, "d.tif": False, "e.bmp": False} | {
    "f.txt": False, "._a.jpg": False, "__MACOSX/a.jpg": False, "Thumbs.db": False, ".hidden.png": False
}  # fmt: skip
PASSED_OVER = "passed over, being no JPEG, PNG or WebP: 4 left by file managers, 1 .bmp, 1 .tif, 1 .txt"


def cluttered() -> dict[str, bytes]:
    kinds = {".jpg": "JPEG", ".jfif": "JPEG", ".tif": "TIFF", ".bmp": "BMP", "": "WEBP"}
    files = {}
    for name in CLUTTERED:
        kind = kinds.get(Path(name).suffix)
        files[name] = b"none" if kind is None else encoded(Image.new("RGB", (8, 8)), kind)
    return files


@pytest.mark.parametrize("way", ["folder", "pattern", "zip", "tar"])
def test_what_is_a_picture_goes_by_one_rule_and_what_is_passed_over_is_counted(way: str, tmp_path: Path) -> None:
    place = tmp_path / "photos"
    for name, data in cluttered().items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    source = {"folder": str(place), "pattern": f"{place}/**/*"}.get(way, str(tmp_path / f"photos.{way}"))
    if way in ("zip", "tar"):
        shutil.make_archive(str(place), way, place)
    found = find_pictures(source, folder_labels=False, out=tmp_path / "out", settings=Settings())
    taken = {name for name, is_taken in CLUTTERED.items() if is_taken}
    assert {one.path.removeprefix(f"{place}/") for one in found.pictures} == taken
    if way != "pattern":  # which does not match hidden files
        assert str(found) == PASSED_OVER
    again = find_pictures(source, folder_labels=False, out=tmp_path / "out", settings=Settings())
    assert again == found


def test_an_archive_that_an_earlier_version_unpacked_is_still_read(tmp_path: Path) -> None:
    unpacked = tmp_path / "out" / "unpacked"
    unpacked.mkdir(parents=True)
    (unpacked / "index.json").write_text('[["a.png", ""], ["notes.txt", "the file is a link, not a picture"]]')
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"a.png": picture(0)}))
    assert [name for name, _ in names(archive, tmp_path / "out")] == ["a.png", "notes.txt"]


def test_where_all_is_passed_over_the_error_says_what(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "scan.tif").write_bytes(b"II*\0")
    with pytest.raises(InvalidOption, match=r"no pictures there; .* \(passed over, being .*: 1 \.tif\)"):
        names(tmp_path / "photos", tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_manifest_of_another_country_and_system_is_understood(delimiter: str, folder: Path, tmp_path: Path) -> None:
    manifest = folder / "list.csv"
    rows = (("path", "label", "box"), ("cat\\01.png", "cat, black", "1 2 30 31"))
    with manifest.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    (one,) = find_pictures(str(manifest), folder_labels=False, out=tmp_path, settings=Settings()).pictures
    assert one.file == folder / "cat" / "01.png" and one.file.exists()
    assert (one.path, one.label, one.box) == ("cat\\01.png", "cat, black", (1, 2, 30, 31))
    manifest.write_bytes("path\nœuvre.png\n".encode("utf-16"))
    with pytest.raises(InvalidOption, match="is not in UTF-8; save it as such"):
        names(manifest, tmp_path)


def test_a_pattern_gives_what_it_matches(folder: Path, tmp_path: Path) -> None:
    assert len(names(f"{folder}/ship/*.png", tmp_path)) == 10


def test_an_archive_is_unpacked_once_under_numbers(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(zipped({"../../evil/0.png": picture(0), "cats/1.png": picture(1)}))
    assert names(archive, tmp_path / "out", folder_labels=True) == [("evil/0.png", "evil"), ("cats/1.png", "cats")]
    assert sorted(path.name for path in (tmp_path / "out" / "unpacked").iterdir()) == ["000000", "000001", "index.json"]
    archive.write_bytes(zipped({"other.png": b""}))
    assert len(names(archive, tmp_path / "out")) == 2


def test_a_manifest_gives_labels_and_boxes(folder: Path, tmp_path: Path) -> None:
    manifest = folder / "list.csv"
    manifest.write_text("path,label,box\ncat/01.png,cat,1 2 30.5 31\nship/00.png,,\n")
    first, second = find_pictures(str(manifest), folder_labels=False, out=tmp_path, settings=Settings()).pictures
    assert (first.label, first.box, first.file.exists()) == ("cat", (1, 2, 30.5, 31), True)
    assert (second.label, second.box) == (None, None)
    manifest.write_text("path,box\ncat/01.png,1 2 3\n")
    with pytest.raises(InvalidOption, match="line 2: needs a path, and as box nothing or x0 y0 x1 y1"):
        names(manifest, tmp_path)
    manifest.write_text("file\ncat/01.png\n")
    with pytest.raises(InvalidOption, match="must name the columns"):
        names(manifest, tmp_path)


def test_where_nothing_is_a_sentence_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="no pictures there; give a folder, a pattern, an archive, or a CSV"):
        names(tmp_path / "nothing", tmp_path)


# -- the journal ---------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_of_other_options_is_refused(tmp_path: Path) -> None:
    first = Journal.open(tmp_path, OPTIONS, artifacts="none")
    assert Journal.open(tmp_path, OPTIONS, artifacts="none") == first
    with pytest.raises(InvalidOption, match="holds a run with other options"):
        Journal.open(tmp_path, OPTIONS, artifacts="all")


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, OPTIONS, artifacts="none")
    with journal.locked(), pytest.raises(AlreadyRunning, match="another bulk run writes to"), journal.locked():
        pass


def test_a_part_is_read_back_or_forgotten_whole(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, OPTIONS, artifacts="none")
    journal.add(JournalPart({"a": {"x": 1}, "b": {"x": 2}}))
    journal.add(JournalPart({"c": {"x": 3}}))
    (journal.folder / "half.partial").write_text('{"rows": {"d"')
    assert sorted(key for part in journal.read() for key in part.rows) == ["a", "b", "c"]
    journal.forget(["a"])
    assert [list(part.rows) for part in journal.read()] == [["c"]]


# -- whole runs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_local_run_writes_tables_report_figures_and_artifacts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = bulk(folder, out, "--local", "--labels-from-folders", "--artifacts", "all", "--language", "ja")
    assert done.returncode == 1, done.stderr  # one picture is broken
    assert "1 invalid_image" in done.stdout and "images/s" in done.stdout
    table = pq.read_table(out / "results.parquet").to_pylist()
    assert [row["path"] for row in table] == [path for path, _ in names(folder, tmp_path)]
    broken = next(row for row in table if row["path"] == "cat/broken.jpg")
    assert (broken["status"], broken["error_code"], broken["label"]) == ("failed", "invalid_image", "cat")
    good = next(row for row in table if row["path"] == "ship/00.png")
    assert good["nbdt-cifar10:cam:exact"] is True
    assert abs(good["nbdt-cifar10:cam:residual"]) < 1e-4
    files = {path.name for path in (out / good["artifacts"]).iterdir()}
    assert {"nbdt-cifar10.cam.npy", "nbdt-cifar10.cam.overlay.png", "nbdt-cifar10.step-1.npy", "result.json"} <= files
    page = (out / "report.html").read_text()
    assert page.count("report/thumbs/") == 21 and '<html lang="ja">' in page
    assert len(list((out / "report" / "thumbs").rglob("*.jpg"))) == 20
    assert (out / "figures" / "nbdt-cifar10.decisions.svg").exists()
    assert len((out / "results.csv").read_text().splitlines()) == 22


@pytest.mark.slow
def test_ctrl_c_ends_with_a_sentence_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.Popen(
        bulk_command(folder, out, "--local"),
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: run.poll() is not None or bool(list(out.glob("parts/[0-9a-f]*.json"))), seconds=120)
    run.send_signal(signal.SIGINT)
    _, message = run.communicate(timeout=60)
    if run.returncode == 1 and message:  # else it had finished already
        assert "the same command goes on from there" in message and "Traceback" not in message
    finished = {path: path.stat().st_mtime_ns for path in out.glob("parts/[0-9a-f]*.json")}
    assert finished
    bulk(folder, out, "--local")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "what is done is not done again"
    assert pq.read_table(out / "results.parquet").num_rows == 21


def test_a_tar_is_a_source_too(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as tar:
        (tmp_path / "0.png").write_bytes(picture(0))
        tar.add(tmp_path / "0.png", "0.png")
    assert names(archive, tmp_path / "out") == [("0.png", None)]
