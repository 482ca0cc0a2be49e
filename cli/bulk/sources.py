"""Where the pictures of a bulk run come from: a folder, a pattern, an archive, or a list with labels."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from shared.archives import MAGIC_BYTES, Bounds, is_archive, read_archive
from shared.errors import InvalidOption
from shared.files import replacing
from shared.images import SUFFIXES
from shared.report.outcome import Box
from shared.settings import Settings


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


def find_pictures(source: str, *, folder_labels: bool, out: Path, settings: Settings) -> list[Picture]:
    """The pictures of SOURCE in a fixed order. An archive is unpacked below `out`. Raises InvalidOption."""
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        found = [_of_file(file, str(file.relative_to(path)), folder_labels=folder_labels) for file in files]
    elif path.is_file() and path.suffix.lower() == ".csv":
        found = _read_manifest(path)
    elif path.is_file() and _is_archive(path):
        found = _unpack(path, out / "unpacked", folder_labels=folder_labels, settings=settings)
    elif path.is_file():
        found = [_of_file(path, path.name, folder_labels=folder_labels)]
    else:
        matches = sorted(Path(name) for name in glob.glob(source, recursive=True))
        found = [_of_file(file, str(file), folder_labels=folder_labels) for file in matches if file.is_file()]
    if not found:
        raise InvalidOption(
            f"{source}: no pictures there; give a folder, a pattern, an archive, or a CSV with a path column"
        )
    return found


def _of_file(file: Path, name: str, *, folder_labels: bool) -> Picture:
    return Picture(name, file, file.absolute().parent.name if folder_labels else None)


def _read_manifest(path: Path) -> list[Picture]:
    """Rows of path,label,box; label and box may be missing or empty. Paths are relative to the list's folder."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if "path" not in (reader.fieldnames or ()):
            raise InvalidOption(f"{path}: the first line must name the columns: path, and if you like label and box")
        return [_of_line(path, number, line) for number, line in enumerate(reader, 2)]


def _of_line(manifest: Path, number: int, line: dict[str, str]) -> Picture:
    name, text = line["path"] or "", (line.get("box") or "").replace(",", " ")
    try:
        edges = tuple(float(part) for part in text.split())
    except ValueError:
        edges = (0.0,)
    if not name or len(edges) not in (0, 4):
        raise InvalidOption(f"{manifest}, line {number}: needs a path, and as box nothing or x0 y0 x1 y1 in pixels")
    box = (edges[0], edges[1], edges[2], edges[3]) if edges else None
    return Picture(name, manifest.parent / name, (line.get("label") or "").strip() or None, box)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return is_archive(file.read(MAGIC_BYTES))


def _unpack(archive: Path, folder: Path, *, folder_labels: bool, settings: Settings) -> list[Picture]:
    """Files with numbers for names: what an archive calls its files is only shown. Done once, however often asked."""
    index = folder / "index.json"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        size = archive.stat().st_size
        bounds = Bounds(
            members=10**6, image_bytes=settings.image_bytes, total_bytes=max(settings.batch_bytes, 4 * size)
        )
        entries = []
        with archive.open("rb") as file:
            for number, entry in enumerate(read_archive(file, bounds)):
                (folder / f"{number:06d}").write_bytes(entry.data)
                entries.append((entry.name, entry.fault))
        with replacing(index) as partial:
            partial.write_text(json.dumps(entries), "utf-8")
    entries = json.loads(index.read_text("utf-8"))
    return [
        Picture(name, folder / f"{number:06d}", _folder_of(name) if folder_labels else None, fault=fault)
        for number, (name, fault) in enumerate(entries)
    ]


def _folder_of(name: str) -> str | None:
    return name.split("/")[-2] if "/" in name else None
