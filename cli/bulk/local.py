"""Bulk work in this machine's own processes: one for each core, each with its models."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.bulk.journal import JournalPart
from cli.bulk.record import Recorder, failed, faulty
from cli.bulk.sources import Picture
from shared.cards.card import Registry
from shared.errors import PathlightError
from shared.images.decode import decode_reduced, read_header
from shared.jobs import ImageRecord, JobError, JobOptions, JobStatus
from shared.report.outcome import Outcome
from shared.results import Result
from shared.settings import Settings

if TYPE_CHECKING:
    from worker.engine.model_cache import ModelCache

_worker: Worker | None = None  # of a child of the pool, made when it starts


@dataclass
class Worker:
    """One process's models and how it keeps what they answer."""

    model_cache: ModelCache
    options: JobOptions
    batch_size: int
    recorder: Recorder

    def run(self, pictures: Sequence[Picture]) -> JournalPart:
        """Explain the pictures, some at a time, and record what came of them."""
        outcomes: list[Outcome] = []
        for start in range(0, len(pictures), self.batch_size):
            outcomes += self._answer(pictures[start : start + self.batch_size])
        return self.recorder.record(pictures, outcomes)

    def _answer(self, pictures: Sequence[Picture]) -> list[Outcome]:
        from worker.explain.answers import answer
        from worker.explain.query import Query
        from worker.queue.failures import failure_of

        found: dict[int, Outcome] = {}
        queries: dict[int, Query] = {}
        for place, picture in enumerate(pictures):
            try:
                if (fault := faulty(picture, self.recorder.limits)) is not None:
                    found[place] = fault
                    continue
                queries[place] = Query(decode_reduced(picture.file.read_bytes(), self.recorder.limits), self.options)
            except PathlightError as error:
                found[place] = failed(picture, JobError("invalid_image", str(error)))
        try:
            results = answer(self.model_cache, list(queries.values())) if queries else []
        except Exception as error:
            if len(pictures) > 1:  # whichever it is that breaks a batch fails alone
                return [outcome for picture in pictures for outcome in self._answer([picture])]
            return [failed(pictures[0], failure_of(error))]
        for (place, one), result in zip(queries.items(), results, strict=True):
            found[place] = self._outcome(pictures[place], one.photo.size, result)
        return [found[place] for place in range(len(pictures))]

    def _outcome(self, picture: Picture, size: tuple[int, int], result: Result) -> Outcome:
        data = picture.file.read_bytes()
        kind = read_header(data, self.recorder.limits).format
        return Outcome(
            picture.path,
            JobStatus.SUCCEEDED,
            ImageRecord(hashlib.sha256(data).hexdigest(), *size, kind, picture.path),
            answer=result.answer,
            maps=result.maps,
            label=picture.label,
            box=picture.box,
        )


def explain_chunks(
    chunks: Sequence[Sequence[Picture]], options: JobOptions, recorder: Recorder, settings: Settings
) -> Generator[JournalPart, None, None]:
    """The parts of all chunks, as they are finished. Raises PathlightError where a process was killed."""
    from shared.cores import usable_cores

    cores = min(usable_cores(), len(chunks))
    pool = ProcessPoolExecutor(
        cores,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(options, recorder, settings, cores),
    )
    try:
        waiting = list(reversed(chunks))
        running: set[Future[JournalPart]] = set()
        while waiting or running:
            while waiting and len(running) < 2 * cores:
                running.add(pool.submit(_run, waiting.pop()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise PathlightError("a process was killed, perhaps for want of memory; the same command goes on") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(options: JobOptions, recorder: Recorder, settings: Settings, cores: int) -> None:
    global _worker  # noqa: PLW0603 - a process pool has no other place for what its children keep
    from worker.engine.model_cache import ModelCache

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends the pool in order
    model_cache = ModelCache(Registry.load(settings), share_of_cores=cores, precision=settings.precision)
    _worker = Worker(model_cache, options, settings.batch_size, recorder)


def _run(pictures: Sequence[Picture]) -> JournalPart:
    assert _worker is not None  # `_start` ran before
    return _worker.run(pictures)
