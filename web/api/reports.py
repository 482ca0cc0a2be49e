"""The report on a batch that has ended: as a page, as a table, and as an archive with all that the page shows."""

from __future__ import annotations

import tempfile
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flask import url_for

from shared.blobs.blob_store import BlobStore
from shared.drawing.maps import Style, entry_overlay, jpeg_bytes
from shared.errors import JobConflict, PathlightError
from shared.images.decode import Limits
from shared.images.masking import explained_picture
from shared.images.sandbox.decoders import read_shown
from shared.jobs import Job, JobError, JobStatus
from shared.report.charts import write_charts
from shared.report.evidence import ClassMaps
from shared.report.outcome import Outcome, unanswered
from shared.report.page import Report, render
from shared.report.rows import Known, Row, known_models, to_row
from shared.report.tables import csv_lines
from shared.results import Result
from shared.settings import Settings
from shared.store.batches import Batch, BatchStore
from web.api.sending import Sending
from web.http import access, language, slots
from web.http.models import Snapshot
from web.http.problems import Busy, ReportUnderWay
from web.http.turns import Turns

PATIENCE_SECONDS = 5.0  # that a request waits for a report to be put together
BUILDS_AT_ONCE = 32  # that wait or are being put together, in all
BUILDS_OF_ONE = 2  # and for one caller: less than its eighth, for they are put together one by one
UNREAD_SECONDS = 60.0  # that a finished report is kept for the caller who has asked for it
THUMB_WIDTH = 144
_PAGE = 500
_KEPT = 2  # reports held for whoever reads page and table of the same batch


Content = tuple[list[Row], ClassMaps, list[Job]]


@dataclass
class _Build:
    """A report that is being put together, or is. `done` members have been read; `ended` is the moment of the monotonic
    clock when it was ready."""

    done: int = 0
    ended: float = 0.0
    read: bool = False
    content: Future[Content] = field(default_factory=Future)

    @property
    def droppable(self) -> bool:
        return self.content.done() and (self.read or time.monotonic() - self.ended > UNREAD_SECONDS)

    @property
    def failed(self) -> bool:
        return self.content.cancelled() or (self.content.done() and self.content.exception() is not None)


class Reports:
    """Reports on batches. An ended batch never changes, so that the newest few are kept at hand. They are put together
    one at a time, in a thread of their own, so that no request is held up for long by thousands of members. None is
    given up for another: each caller may have a few on their way."""

    def __init__(
        self,
        batches: BatchStore,
        blobs: BlobStore,
        registry: Snapshot,
        settings: Settings,
        *,
        drawings: Turns,
        sending: Sending,
    ) -> None:
        self._batches = batches
        self._blobs = blobs
        self._registry = registry
        self._limits = Limits.of(settings)
        self._thread = ThreadPoolExecutor(1, "report")
        self._lock = threading.Lock()
        self._drawings = drawings
        self._building = Turns(
            "reports",
            at_once=BUILDS_AT_ONCE,
            of_one=BUILDS_OF_ONE,
            busy=lambda: Busy(f"{BUILDS_AT_ONCE} reports are being put together; ask again shortly"),
        )
        self._sending = sending
        self._builds: dict[tuple[str, int], _Build] = {}  # the one asked for last comes last

    def page(self, batch: Batch) -> str:
        """The page in the reader's language, its pictures drawn when they are looked at. Raises JobConflict where the
        batch has not ended, ReportUnderWay where its report takes its time."""
        rows, maps, jobs = self._of(batch)
        thumbs = [_addresses(job, batch) for job in jobs]
        report = Report(_title(batch), batch.options.models, rows, maps, thumbs, language.current())
        with self._drawings.taken(access.sharer()):
            return render(report)

    def table(self, batch: Batch) -> Iterator[str]:
        """The lines of a CSV file. Raises as `page`."""
        rows, _, _ = self._of(batch)
        return csv_lines(rows)

    def archive(self, batch: Batch) -> Iterable[bytes]:
        """A .zip with page, table, figures and thumbnails, piece by piece, to be closed. Raises as `page`, and
        TooManyRequests or Busy where enough of them are being sent to this caller, or in all."""
        rows, maps, jobs = self._of(batch)
        sharer, models = access.sharer(), batch.options.models
        thumbs = [[f"report/thumbs/{i:06d}-{n}.jpg" for n in range(len(models))] for i in range(len(jobs))]
        report = Report(_title(batch), models, rows, maps, thumbs, language.current())
        return self._sending.send(sharer, self._pieces(report, jobs, sharer))

    def _pieces(self, report: Report, jobs: Sequence[Job], sharer: str) -> Iterator[bytes]:
        pipe = _Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]  # enough of one
            with self._drawings.taken(sharer, patient=True), tempfile.TemporaryDirectory() as folder:
                archive.writestr("report.html", render(report))
                archive.writestr("results.csv", "".join(csv_lines(report.rows)))
                for path in write_charts(report, Path(folder)):
                    archive.write(path, f"figures/{path.name}")
            yield pipe.take()
            for job, names in zip(jobs, report.thumbs, strict=True):
                for name, data in zip(names, self._thumbs(job, sharer), strict=False):
                    archive.writestr(zipfile.ZipInfo(name), data)
                yield pipe.take()
        yield pipe.take()

    def _of(self, batch: Batch) -> Content:
        if batch.finished_ms is None:
            raise JobConflict(f"the batch has not ended: {batch.ended} of {batch.total} members have; ask again then")
        build = self._build(batch, batch.finished_ms)
        try:
            with slots.released():
                content = build.content.result(PATIENCE_SECONDS)
            build.read = True
            return content
        except TimeoutError:
            raise ReportUnderWay(
                f"the report is being put together: {build.done} of {batch.total} pictures are read; ask again shortly"
            ) from None

    def _build(self, batch: Batch, finished_ms: int) -> _Build:
        """The build of a report, begun where nobody has asked for it lately, or where it failed. Raises TooManyRequests
        and Busy where too many are on their way for this caller, or in all."""
        key = (batch.id, finished_ms)
        with self._lock:
            build = self._builds.pop(key, None)
            if build is None or build.failed:
                known, sharer, build = known_models(self._registry(), batch.options.models), access.sharer(), _Build()
                self._building.take(sharer)
                build.content = self._thread.submit(self._read_in_turn, batch.id, known, build, sharer)
            self._builds[key] = build
            for old in [one for one, kept in self._builds.items() if kept.droppable][:-_KEPT]:
                del self._builds[old]
            return build

    def _read_in_turn(self, batch_id: str, known: Mapping[str, Known], build: _Build, sharer: str) -> Content:
        try:
            return self._read(batch_id, known, build)
        finally:
            self._building.give_back(sharer)

    def _read(self, batch_id: str, known: Mapping[str, Known], build: _Build) -> Content:
        rows: list[Row] = []
        maps = ClassMaps()
        jobs: list[Job] = []
        start: int | None = 0
        while start is not None:
            page = self._batches.members(batch_id, start=start, most=_PAGE)
            for _, job in page.members:
                outcome = self._outcome(job)
                rows.append(to_row(outcome, known))
                maps.add(outcome)
                jobs.append(job)
                build.done = len(jobs)
            start = page.next
        build.ended = time.monotonic()
        return rows, maps, jobs

    def _outcome(self, job: Job) -> Outcome:
        image, path = job.image, job.image.filename
        if job.status is not JobStatus.SUCCEEDED or job.result_ref is None:
            return Outcome(path, job.status, image, job.error or unanswered(job.status), job=job.id)
        try:
            result = Result.unpack(self._blobs.get(job.result_ref))
        except PathlightError as error:
            return Outcome(path, JobStatus.FAILED, image, JobError(error.code, str(error)), job=job.id)
        return Outcome(path, job.status, image, answer=result.answer, maps=result.maps, job=job.id)

    def _thumbs(self, job: Job, sharer: str) -> Iterator[bytes]:
        outcome = self._outcome(job)
        if not outcome.explanations:
            return
        with self._drawings.taken(sharer, patient=True):
            photo = explained_picture(self._blobs, job.image, job.options, limits=self._limits, read=read_shown)
        for explanation in outcome.explanations:
            entry, box = explanation.maps[0], photo.scaled_box(explanation.input.box)
            drawn = entry_overlay(entry, outcome.maps, photo.pixels, box, style=Style(width=THUMB_WIDTH))
            yield jpeg_bytes(drawn, quality=80)


def _addresses(job: Job, batch: Batch) -> list[str]:
    """The overlays of each model's first map, as `worker.explain.explanations` names them."""
    if job.status is not JobStatus.SUCCEEDED:
        return [""] * len(batch.options.models)
    names = [f"{model}.{batch.options.methods[0]}.overlay.png" for model in batch.options.models]
    return [url_for("api.get_artifact", job_id=job.id, name=name, width=THUMB_WIDTH) for name in names]


def _title(batch: Batch) -> str:
    return batch.name or f"Batch {batch.id[:6]}"


class _Pipe:
    """What an archive is written to and taken from, without ever being held whole."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def take(self) -> bytes:
        data = bytes(self._held)
        self._held.clear()
        return data
