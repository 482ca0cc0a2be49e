"""One bulk run: find the pictures, leave out what is done, explain the rest, and write tables and report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.bulk.journal import Journal, JournalPart
from cli.bulk.local import explain_chunks
from cli.bulk.record import Recorder, thumb_name
from cli.bulk.service import BulkService
from cli.bulk.sources import Picture, find_pictures
from cli.remote import refusals_told
from shared import distribution
from shared import options as job_options
from shared.cards.card import Registry
from shared.errors import PathlightError
from shared.files import replacing
from shared.images.decode import Limits
from shared.jobs import JobOptions
from shared.report.charts import write_charts
from shared.report.evidence import ClassMaps
from shared.report.page import Report, render
from shared.report.rows import Known, Row, known_models
from shared.report.tables import columns_of, csv_lines
from shared.settings import Settings

CHUNK = 16  # pictures of one part: what an end in the middle may cost to be done again


@dataclass(frozen=True)
class BulkOptions:
    """What the command line asks. `server` is empty for work in this process, `language` is the report's."""

    source: str
    out: Path
    options: JobOptions
    artifacts: str
    folder_labels: bool
    retry: bool
    server: str
    key: str | None
    language: str


class Bulk:
    """A run on its way, with the bar that shows it."""

    def __init__(self, bulk: BulkOptions, settings: Settings, console: Console) -> None:
        self._bulk = bulk
        self._settings = settings
        self._console = console
        self._limits = Limits.of(settings)

    def run(self) -> bool:
        """Do what is left to do; True where every picture has its answer. Ctrl-C leaves all that is finished."""
        bulk = self._bulk
        bulk.out.mkdir(parents=True, exist_ok=True)
        with self._service() as service:
            with self._console.status("asking for the models…"):
                models, options = self._models(service)
            journal = Journal.open(bulk.out, options, artifacts=bulk.artifacts)
            with journal.locked():
                return self._run(journal, options, models, service)

    @contextmanager
    def _service(self) -> Iterator[BulkService | None]:
        """The service that was asked for; none for work in this process."""
        if not self._bulk.server:
            distribution.need("worker")
            yield None
            return
        service = BulkService(self._bulk.server, api_key=self._bulk.key, limits=self._limits)
        with refusals_told(), closing(service):
            yield service

    def _run(
        self, journal: Journal, options: JobOptions, models: Mapping[str, Known], service: BulkService | None
    ) -> bool:
        with self._console.status("looking for pictures…"):
            found = find_pictures(
                self._bulk.source,
                folder_labels=self._bulk.folder_labels,
                out=self._bulk.out,
                settings=self._settings,
            )
            by_key = {picture.key: picture for picture in found.pictures}
            rows, maps = self._finished(journal, set(by_key))
        if found.passed_over:
            self._console.print(str(found), soft_wrap=True, markup=False)
        left = [picture for key, picture in by_key.items() if key not in rows]
        recorder = Recorder(self._bulk.out, self._bulk.artifacts, models, self._limits)
        bar = ProgressBar(self._console, total=len(by_key), rows=rows)
        chunks = [left[start : start + CHUNK] for start in range(0, len(left), CHUNK)]
        try:
            with bar, closing(self._parts(chunks, options, recorder, journal, service, bar)) as parts:
                for part in parts:
                    rows |= part.rows
                    maps.merge(part.maps)
                    bar.advance(part)
        except KeyboardInterrupt:
            journal.with_new_nonce()  # what was under way is cancelled, and has to be asked anew
            raise PathlightError(
                f"stopped; {len(rows)} of {len(by_key)} pictures are done, and the same command goes on from there"
            ) from None
        with self._console.status("writing tables and report…"):
            self._write([rows[key] | {"key": key} for key in by_key], maps, options, models)
        return all(row["status"] == "succeeded" for row in rows.values())

    def _models(self, service: BulkService | None) -> tuple[dict[str, Known], JobOptions]:
        """What is known of the models asked for, and the options with their names."""
        registry = Registry.load(self._settings)
        options = self._bulk.options
        if service is None:
            models = options.models or self._settings.default_models
            methods = options.methods or job_options.best_methods(registry.get(name).methods for name in models)
            options = replace(options, models=models, methods=methods)
            job_options.check(options)
            for name in options.models:
                registry.ready(name)
            job_options.plan(options, registry)
            return known_models(registry, options.models), options
        listed, default = service.models()
        here = known_models(registry, tuple(listed))
        # A tree on this machine is that of the service's model where both know the same classes.
        merged = {
            name: here[name] if name in here and here[name].classes == one.classes else one
            for name, one in listed.items()
        }
        models = options.models or default
        able = (listed[name].methods for name in models if name in listed)  # the service refuses others
        methods = options.methods or job_options.best_methods(able)
        return merged, replace(options, models=models, methods=methods)

    def _finished(self, journal: Journal, wanted: set[str]) -> tuple[dict[str, Row], ClassMaps]:
        """What earlier runs finished. With `retry`, what failed for another reason than the picture is left out."""
        if self._bulk.retry:
            found = {key: row for part in journal.read() for key, row in part.rows.items()}
            again = [
                k for k, row in found.items() if row["status"] != "succeeded" and row["error_code"] != "invalid_image"
            ]
            journal.forget(again)
        rows: dict[str, Row] = {}
        maps = ClassMaps()
        for part in journal.read():
            if wanted & set(part.rows):
                rows |= {key: row for key, row in part.rows.items() if key in wanted}
                maps.merge(part.maps)
        return rows, maps

    def _parts(
        self,
        chunks: Sequence[Sequence[Picture]],
        options: JobOptions,
        recorder: Recorder,
        journal: Journal,
        service: BulkService | None,
        bar: ProgressBar,
    ) -> Generator[JournalPart, None, None]:
        if not chunks:
            return
        if service is None:
            with closing(explain_chunks(chunks, options, recorder, self._settings)) as parts:
                for part in parts:
                    journal.add(part)
                    yield part
            return
        answers = service.explain_chunks(chunks, options, nonce=journal.nonce, watch=bar.under_way)
        with closing(answers):
            for pictures, outcomes in answers:
                part = recorder.record(pictures, outcomes)
                journal.add(part)
                yield part

    def _write(self, rows: Sequence[Row], maps: ClassMaps, options: JobOptions, models: Mapping[str, Known]) -> None:
        out = self._bulk.out
        tabled = [{name: value for name, value in row.items() if name != "key"} for row in rows]
        write_parquet(tabled, out / "results.parquet")
        (out / "results.csv").write_text("".join(csv_lines(tabled)), "utf-8")
        thumbs = [[thumb_name(row["key"], number) for number in range(len(options.models))] for row in rows]
        report = Report(Path(self._bulk.source).name, options.models, rows, maps, thumbs, self._bulk.language)
        (out / "report.html").write_text(render(report), "utf-8")
        write_charts(report, out / "figures")
        self._console.print(
            f"wrote {len(rows)} rows to {out / 'results.parquet'} and results.csv, and {out / 'report.html'}"
        )


def write_parquet(rows: Sequence[Row], path: Path) -> None:
    """One row for each picture; a column without any value is one of texts."""
    columns = {name: pa.array([row.get(name) for row in rows]) for name in columns_of(rows)}
    typed = {name: one.cast(pa.string()) if pa.types.is_null(one.type) else one for name, one in columns.items()}
    with replacing(path) as partial:
        pq.write_table(pa.table(typed), partial)


class ProgressBar:
    """Pictures done, how many a second, how long yet, and what failed, by code."""

    def __init__(self, console: Console, *, total: int, rows: Mapping[str, Row]) -> None:
        self._progress = Progress(
            TextColumn("explaining"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            TextColumn("[red]{task.fields[failures]}"),
            console=console,
        )
        self._total, self._done, self._resumed = total, len(rows), len(rows)
        self._failures = Counter(row["error_code"] for row in rows.values() if row["error_code"])
        self._began = time.monotonic()
        self._task: TaskID = self._progress.add_task("", total=total, pace="", failures=self._failed())

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        self.under_way(0)
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def advance(self, part: JournalPart) -> None:
        """Count a part that is finished."""
        self._done += len(part.rows)
        self._failures.update(row["error_code"] for row in part.rows.values() if row["error_code"])
        self.under_way(0)

    def under_way(self, ended: int) -> None:
        """Show those of unfinished parts too that have ended already."""
        done = min(self._done + ended, self._total)
        pace = (done - self._resumed) / max(time.monotonic() - self._began, 1e-3)
        text = f"{pace:.1f} images/s, {_duration((self._total - done) / pace)} left" if pace > 0 else ""
        self._progress.update(self._task, completed=done, pace=text, failures=self._failed())

    def _failed(self) -> str:
        return ", ".join(f"{count} {code}" for code, count in self._failures.most_common())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
