"""Where the pictures of a bulk run come from: a folder, a pattern, an archive, or a list with labels."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import InvalidOption
from shared.files import replacing
from shared.images.archives import MAGIC_BYTES, Bounds, is_archive, read_archive
from shared.images.containers import HEAD_BYTES
from shared.images.picture_files import is_picture, is_picture_file, kind_of
from shared.report.outcome import Box
from shared.settings import Settings

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Picture:
    """One picture to come. `path` is what it is called, `file` where it is; `fault` is why it cannot be read."""

    path: str
    file: Path
    label: str | None = None
    box: Box | None = None
    fault: str = ""

    @property
    def key(self) -> str:
        """Names the picture and what is said of it: another file, size, time, label or box is another key."""
        try:
            stat = self.file.stat()
            seen: tuple[int, ...] = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            seen = ()
        parts = (self.path, seen, self.label, self.box)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class FoundPictures:
    """The pictures of a source in a fixed order, and how many files there are none, by what they are."""

    pictures: Sequence[Picture]
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """What was passed over, in a sentence."""
        ranked = sorted(self.passed_over.items(), key=lambda one: (-one[1], one[0]))
        listed = ", ".join(f"{count} {kind}" for kind, count in ranked[:5])
        more = f" and {len(ranked) - 5} other kinds" if len(ranked) > 5 else ""
        return f"passed over, being no JPEG, PNG or WebP: {listed}{more}"


def find_pictures(source: str, *, folder_labels: bool, out: Path, settings: Settings) -> FoundPictures:
    """What SOURCE holds. An archive is unpacked below `out`. Raises InvalidOption where there is no picture."""
    path = Path(source)
    if path.is_dir():
        files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}
        found = _among(files, folder_labels=folder_labels)
    elif path.is_file() and path.suffix.lower() == ".csv":
        found = FoundPictures(_read_manifest(path))
    elif path.is_file() and _is_archive(path):
        found = _unpack(path, out / "unpacked", folder_labels=folder_labels, settings=settings)
    elif path.is_file():
        found = FoundPictures([_of_file(path, path.name, folder_labels=folder_labels)])
    else:
        matches = sorted(Path(name) for name in glob.glob(source, recursive=True))
        found = _among({str(file): file for file in matches if file.is_file()}, folder_labels=folder_labels)
    if not found.pictures:
        raise InvalidOption(
            f"{source}: no pictures there; give a folder, a pattern, an archive, or a CSV with a path column"
            + (f" ({found})" if found.passed_over else "")
        )
    return found


def _among(files: Mapping[str, Path], *, folder_labels: bool) -> FoundPictures:
    """The pictures among files, by what they are called."""
    passed_over: Counter[str] = Counter()
    pictures = []
    for name, file in files.items():
        if is_picture_file(file, name):
            pictures.append(_of_file(file, name, folder_labels=folder_labels))
        else:
            passed_over[kind_of(name)] += 1
    return FoundPictures(pictures, passed_over)


def _of_file(file: Path, name: str, *, folder_labels: bool) -> Picture:
    return Picture(name, file, file.absolute().parent.name if folder_labels else None)


def _read_manifest(path: Path) -> list[Picture]:
    """Rows of path,label,box; label and box may be missing or empty. Paths are relative to the list's folder. What
    parts the columns is a comma, or a semicolon or tab, as spreadsheets have it in many countries."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = file.readlines()
    except UnicodeDecodeError as error:
        raise InvalidOption(f"{path} is not in UTF-8; save it as such") from error
    for delimiter in _DELIMITERS:
        reader = csv.DictReader(lines, delimiter=delimiter)
        if "path" in (reader.fieldnames or ()):
            return [_of_line(path, number, line) for number, line in enumerate(reader, 2)]
    raise InvalidOption(f"{path}: the first line must name the columns: path, and if you like label and box")


def _of_line(manifest: Path, number: int, line: dict[str, str]) -> Picture:
    name, text = line["path"] or "", (line.get("box") or "").replace(",", " ")
    try:
        edges = tuple(float(part) for part in text.split())
    except ValueError:
        edges = (0.0,)
    if not name or len(edges) not in (0, 4):
        raise InvalidOption(f"{manifest}, line {number}: needs a path, and as box nothing or x0 y0 x1 y1 in pixels")
    box = (edges[0], edges[1], edges[2], edges[3]) if edges else None
    return Picture(name, _beside(manifest, name), (line.get("label") or "").strip() or None, box)


def _beside(manifest: Path, name: str) -> Path:
    """The file that a list names; Windows parts its folders by backslashes."""
    file = manifest.parent / name
    return file if file.exists() else manifest.parent / name.replace("\\", "/")


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return is_archive(file.read(MAGIC_BYTES))


def _unpack(archive: Path, folder: Path, *, folder_labels: bool, settings: Settings) -> FoundPictures:
    """Files with numbers for names: what an archive calls its files is only shown. Done once, however often asked."""
    index = folder / "index.json"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(index) as partial:
            partial.write_text(json.dumps(_write_unpacked(archive, folder, settings)), "utf-8")
    found = json.loads(index.read_text("utf-8"))
    if isinstance(found, list):  # as an earlier version wrote it, which passed nothing over
        found = {"entries": found, "passed_over": {}}
    pictures = [
        Picture(name, folder / f"{number:06d}", _folder_of(name) if folder_labels else None, fault=fault)
        for number, (name, fault) in enumerate(found["entries"])
    ]
    return FoundPictures(pictures, found["passed_over"])


def _write_unpacked(archive: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Write the pictures; their names and faults in the order of their numbers, and what was passed over."""
    bounds = Bounds(
        members=10**6,
        image_bytes=settings.image_bytes,
        total_bytes=max(settings.batch_bytes, 4 * archive.stat().st_size),
    )
    entries: list[tuple[str, str]] = []
    passed_over: Counter[str] = Counter()

    def pass_over(name: str) -> None:
        passed_over[kind_of(name)] += 1

    with archive.open("rb") as file:
        for entry in read_archive(file, bounds, pass_over=pass_over):
            if not is_picture(entry.name, entry.data[:HEAD_BYTES]):
                pass_over(entry.name)
                continue
            (folder / f"{len(entries):06d}").write_bytes(entry.data)
            entries.append((entry.name, entry.fault))
    return {"entries": entries, "passed_over": passed_over}


def _folder_of(name: str) -> str | None:
    return name.split("/")[-2] if "/" in name else None
