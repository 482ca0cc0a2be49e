"""The files of a job: raw maps as stored, and pictures drawn when somebody asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from shared.answer.explanation import Explanation
from shared.answer.maps import AnyMap
from shared.blobs.blob_store import BlobStore
from shared.cores import usable_cores
from shared.drawing.maps import Style, entry_heatmap, entry_overlay, jpeg_bytes, png_bytes
from shared.drawing.tree_picture import draw_tree
from shared.errors import UnknownJob
from shared.images.decode import LONGEST_SIDE, Limits, Photo
from shared.images.masking import explained_picture
from shared.images.sandbox.decoders import read_mask, read_shown
from shared.jobs import Job
from shared.results import Result, npy_bytes
from shared.settings import Settings
from web.http import slots
from web.http.problems import Busy
from web.http.single_flight import SingleFlight
from web.http.turns import Turns

PICTURE = "picture.jpg"
MASK = "mask.png"
UPLOADED = (PICTURE, MASK)  # by the caller: there before the answer is
DECODED = 2  # pictures, each of a few MB, or of 100 where it is long and narrow
RAW = "application/octet-stream"
DRAWN_FOR_ONE = 64  # drawings that a caller may wait for: a page asks for many at once
PATIENCE_SECONDS = 10.0


def drawing_turns() -> Turns:
    """Of one web process, which draws on as many cores as it has. One place is left to other callers."""
    at_once = max(2, usable_cores())
    return Turns(
        "drawings",
        at_once=at_once,
        working_of_one=at_once - 1,
        of_one=DRAWN_FOR_ONE,
        busy=lambda: Busy("too many drawings are being made; ask again shortly"),
        patience=PATIENCE_SECONDS,
    )


@dataclass(frozen=True)
class Artifact:
    """One file: `etag` names its content before `make` has to produce it."""

    content_type: str
    etag: str
    make: Callable[[], bytes]


class Artifacts:
    """Finds and draws the files of a job. The pictures of the last jobs are kept decoded: overlays come in numbers.
    Drawings are made in turns; one that its caller asks for several times at once is made once."""

    def __init__(self, blobs: BlobStore, settings: Settings, *, drawings: Turns) -> None:
        self._blobs = blobs
        self._drawings = drawings
        self._flights = SingleFlight[bytes]()
        self._limits = Limits.of(settings)
        self._explained = lru_cache(maxsize=DECODED)(
            partial(explained_picture, blobs, limits=self._limits, read=read_shown)
        )

    def names(self, job: Job, result: Result) -> list[str]:
        """Every file of a succeeded job, each once."""
        found = [PICTURE, *([MASK] if job.options.mask else []), *(f"{name}.npy" for name in result.maps)]
        for explanation in result.answer.explanations:
            for _, entry in explanation.all_maps():
                found += entry.artifacts.names()
            found += [name] if (name := _tree_name(explanation)) else []
        return list(dict.fromkeys(found))

    def get(
        self, job: Job, result: Result | None, name: str, style: Style, *, sharer: str, patient: bool = False
    ) -> Artifact:
        """The file `name` of a job; what it costs counts to the sharer. Raises UnknownJob where it has no such file.
        `make` raises TooManyRequests and Busy where too much is being drawn for the sharer, or in all; a `patient` one
        waits."""
        found = self._find(job, result, name, style)
        if found.content_type == RAW:
            return found
        return replace(found, make=lambda: self._in_turn(found, sharer, patient))

    def _in_turn(self, artifact: Artifact, sharer: str, patient: bool) -> bytes:
        def draw() -> bytes:
            with self._drawings.taken(sharer, patient=patient):
                return artifact.make()

        with slots.released():
            return self._flights.get((artifact.etag, sharer, patient), draw)

    def _find(self, job: Job, result: Result | None, name: str, style: Style) -> Artifact:
        if name == PICTURE:
            drawn = f"{name}{style.width}{job.options.mask or ''}{job.options.fill if job.options.mask else ''}"
            return self._artifact("image/jpeg", job.image.sha256, drawn, lambda: self._picture(job, style.width))
        if name == MASK and (mask := job.options.mask):
            return self._artifact("image/png", mask, name, lambda: self._mask(mask))
        if result is None:
            raise UnknownJob("the job has no such file")
        if name.endswith(".npy") and (raw := result.maps.get(name[:-4])) is not None:
            return self._artifact(RAW, job.result_ref, name, lambda: npy_bytes(raw))
        for explanation in result.answer.explanations:
            if name == _tree_name(explanation):
                return self._tree(job, result, explanation, name, style)
            for _, entry in explanation.all_maps():
                if name in entry.artifacts.names():
                    return self._drawn(job, result, explanation, entry, name, style)
        raise UnknownJob("the job has no such file")

    def _drawn(
        self, job: Job, result: Result, explanation: Explanation, entry: AnyMap, name: str, style: Style
    ) -> Artifact:
        """The heat map or the overlay of one map."""

        def make() -> bytes:
            if name == entry.artifacts.heatmap:
                return png_bytes(entry_heatmap(entry, result.maps, style=style))
            photo = self._decode(job)
            box = photo.scaled_box(explanation.input.box)
            return png_bytes(entry_overlay(entry, result.maps, photo.pixels, box, style=style))

        return self._artifact("image/png", job.result_ref, f"{name}{style}", make)

    def _tree(self, job: Job, result: Result, explanation: Explanation, name: str, style: Style) -> Artifact:
        def make() -> bytes:
            return draw_tree(explanation, result.maps, self._decode(job), style=style).encode()

        return self._artifact("image/svg+xml", job.result_ref, f"{name}{style}", make)

    def _picture(self, job: Job, width: int | None) -> bytes:
        """The picture as it was explained, re-encoded without its metadata and bounded for display."""
        picture = self._decode(job).pixels.copy()
        picture.thumbnail((width or LONGEST_SIDE, LONGEST_SIDE))
        return jpeg_bytes(picture)

    def _mask(self, ref: str) -> bytes:
        """The mask of a what-if, encoded anew as pictures are: it hides what the uploaded one hides."""
        return png_bytes(read_mask(self._blobs.get(ref), self._limits))

    def _decode(self, job: Job) -> Photo:
        """The picture as it was explained; shared, so that nobody may change it."""
        return self._explained(job.image, job.options)

    @staticmethod
    def _artifact(content_type: str, ref: str | None, name: str, make: Callable[[], bytes]) -> Artifact:
        return Artifact(content_type, hashlib.sha256(f"{ref}/{name}".encode()).hexdigest()[:32], make)


def _tree_name(explanation: Explanation) -> str | None:
    """The name of the tree picture; none without a decision path, or where an earlier version stored it."""
    path = explanation.decision_path
    return path.artifacts.tree if path and path.artifacts else None
