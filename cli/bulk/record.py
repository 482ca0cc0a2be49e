"""What is kept of a part of a bulk run: rows, sums of maps, thumbnails for the report, and the artifacts asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cli.bulk.journal import JournalPart
from cli.bulk.sources import Picture
from shared.answer.explanation import Explanation
from shared.answer.maps import AnyMap
from shared.drawing.maps import Style, entry_heatmap, entry_overlay, png_bytes
from shared.errors import InvalidImage
from shared.images.decode import Limits, Photo, decode_reduced
from shared.jobs import JobError, JobStatus
from shared.report.outcome import Outcome
from shared.report.rows import Known, to_row
from shared.results import npy_bytes

ARTIFACTS = ("none", "raw", "overlay", "all")
THUMB_WIDTH = 144


@dataclass(frozen=True)
class Recorder:
    """Writes below `out`. Everything written is the same however often it is."""

    out: Path
    artifacts: str
    models: Mapping[str, Known]
    limits: Limits

    def record(self, pictures: Sequence[Picture], outcomes: Sequence[Outcome]) -> JournalPart:
        """Write the files of these pictures; returns their rows and sums."""
        part = JournalPart()
        for picture, outcome in zip(pictures, outcomes, strict=True):
            row = to_row(outcome, self.models)
            row["artifacts"] = None
            if outcome.status is JobStatus.SUCCEEDED:
                photo = decode_reduced(picture.file.read_bytes(), self.limits)
                self._write_thumbs(picture.key, photo, outcome)
                if self.artifacts != "none":
                    row["artifacts"] = self._write_artifacts(picture, photo, outcome)
                part.maps.add(outcome)
            part.rows[picture.key] = row
        return part

    def _write_thumbs(self, key: str, photo: Photo, outcome: Outcome) -> None:
        for number, explanation in enumerate(outcome.explanations):
            drawn = _overlay(photo, outcome, explanation, explanation.maps[0], width=THUMB_WIDTH)
            path = self.out / thumb_name(key, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn.save(path, "JPEG", quality=80)

    def _write_artifacts(self, picture: Picture, photo: Photo, outcome: Outcome) -> str:
        """The folder of the picture's files, relative to `out`."""
        folder = Path("artifacts") / f"{_tame(picture.path)}-{picture.key[:8]}"
        (self.out / folder).mkdir(parents=True, exist_ok=True)
        for name, data in self._files(photo, outcome):
            (self.out / folder / name).write_bytes(data)
        return str(folder)

    def _files(self, photo: Photo, outcome: Outcome) -> list[tuple[str, bytes]]:
        files: list[tuple[str, bytes]] = []
        for explanation in outcome.explanations:
            for name, entry in explanation.all_maps():
                stem = f"{explanation.model}.{name}"
                if self.artifacts in ("raw", "all"):
                    files.append((f"{stem}.npy", npy_bytes(entry.raw(outcome.maps))))
                if self.artifacts in ("overlay", "all"):
                    drawn = _overlay(photo, outcome, explanation, entry, width=None)
                    files.append((f"{stem}.overlay.png", png_bytes(drawn)))
                if self.artifacts == "all":
                    drawn = entry_heatmap(entry, outcome.maps, style=Style())
                    files.append((f"{stem}.heatmap.png", png_bytes(drawn)))
        if self.artifacts == "all" and outcome.answer:
            files.append(("result.json", json.dumps(outcome.answer.to_dict(), indent=1).encode()))
        return files


def thumb_name(key: str, number: int) -> str:
    """Where the thumbnail of a picture by its model's number lies in a run's folder."""
    return f"report/thumbs/{key[:2]}/{key}-{number}.jpg"


def faulty(picture: Picture, limits: Limits) -> Outcome | None:
    """The outcome of a picture that nobody needs to be asked about; None where it looks like one."""
    try:
        data = b"" if picture.fault else picture.file.read_bytes()
    except OSError as error:
        return failed(picture, JobError(InvalidImage.code, f"the file cannot be read: {error.strerror}"))
    if picture.fault:
        return failed(picture, JobError(InvalidImage.code, picture.fault))
    if len(data) > limits.image_bytes:
        message = f"the picture has {len(data)} bytes; at most {limits.image_bytes} are taken"
        return failed(picture, JobError(InvalidImage.code, message))
    return None


def failed(picture: Picture, error: JobError) -> Outcome:
    """The outcome of a picture that could not be explained."""
    return Outcome(picture.path, JobStatus.FAILED, error=error, label=picture.label, box=picture.box)


def _overlay(
    photo: Photo, outcome: Outcome, explanation: Explanation, entry: AnyMap, *, width: int | None
) -> Image.Image:
    box = photo.scaled_box(explanation.input.box)
    return entry_overlay(entry, outcome.maps, photo.pixels, box, style=Style(width=width))


def _tame(path: str) -> str:
    """The end of a picture's name as part of a folder's: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", path.rsplit("/", 1)[-1])[-60:].lstrip(".") or "picture"
