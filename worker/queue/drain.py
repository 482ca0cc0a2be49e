"""Work off what waits: claim a batch under a lease, explain it in one go, finish each job.

Faults are sorted here. A picture that cannot be decoded fails alone. Anything that breaks a batch of several sends
every member back for a run of its own, so that only the job at fault is charged with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from billiard.exceptions import SoftTimeLimitExceeded

from shared.blobs.blob_store import BlobStore
from shared.errors import InvalidImage, PathlightError, StorageFailed, StoreUnavailable, UnknownJob
from shared.images.decode import Limits
from shared.images.sandbox.decoders import Decoders
from shared.jobs import Claim, JobError, JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.figures import Figures
from shared.store.job_store import End, JobStore, Lease
from shared.store.overview import observed
from shared.tracing import Trace, tracing
from worker.explain.asked import Asked
from worker.queue.pictures import Cards, with_pictures

log = logging.getLogger(__name__)
T = TypeVar("T")

REPORT_SECONDS = 0.25  # between two reports of progress, each of which also asks whether to go on
RESULT_ROOM = 1 / 8  # of the reserve on the disk, which uploads leave to results; below it jobs wait rather than fail
RING_AGAIN_SECONDS = 10.0  # a drain hands over to a new task after so long; see `_turn_seconds`


Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) of a batch's work; raises Stopped where nobody wants it any more."""

Explainer = Callable[[Sequence[Asked], Progress], list[Result]]
"""Answers a batch of pictures with what is asked of each, in order: `answers.answer` with its models at hand."""


class Stopped(Exception):
    """No job of the batch is to be finished here: each was cancelled, is past its deadline, or is somebody else's."""


class Drain:
    """Drains the store with one explainer. `ring` wakes another worker where work is left; pictures are decoded by
    `decoders`, as many at a time as there are of them; `cards` says which models answer a job."""

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        settings: Settings,
        *,
        cards: Cards,
        answer: Explainer,
        ring: Callable[[], None],
        decoders: Decoders,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._cards = cards
        self._answer = answer
        self._ring = ring
        self._decoders = decoders
        self._figures = Figures(store)
        self._crew = f"{socket.gethostname()}:{os.getppid()}"  # the processes of this worker

    def run(self) -> int:
        """Claim and finish batches until nothing waits or it is time to hand over; how many jobs were claimed."""
        total = self._claim_and_finish()
        if total:
            self._figures.try_to_flush()
        return total

    def _claim_and_finish(self) -> int:
        until = time.monotonic() + _turn_seconds(self._settings)
        if not self._has_room():
            return 0
        most = self._settings.batch_size
        claims = self._store.claim(most, claim_id=_new_id(), woken=True, ring=self._ring, crew=self._crew)
        total = 0
        while claims:
            total += len(claims)
            with tracing(_trace(claims)):
                claims = self._run_batch(claims, until)
        return total

    def _has_room(self) -> bool:
        if self._blobs.free_bytes() >= RESULT_ROOM * self._settings.disk_reserve_bytes:
            return True
        log.warning("the disk has no room for results; jobs wait until it has")
        return False

    def _run_batch(self, claims: list[Claim], until: float) -> list[Claim]:
        """Explain a batch and end its jobs; what is to be run next, nothing once it is `until`."""
        open_claims = {claim.id: claim for claim in claims}
        try:
            with Leases(self._store, claims, seconds=self._settings.lease_seconds) as leases:
                try:
                    answered = self._answer_all(claims, open_claims, leases.report)
                    with self._timed("store"):
                        return self._finish(answered, leases, until)
                except Stopped:
                    ends = [end for claim in open_claims.values() for end in _unwanted(claim, leases.state(claim))]
                    return self._hand_in(ends, until)[1]
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                raise  # the leases run out and the keeper gives the jobs to whoever can reach the store
            self._settle(list(open_claims.values()), error)
        except BaseException:  # the worker is told to stop: others take over at once, and nobody is charged
            for claim in open_claims.values():
                self._store.release(claim)
            raise
        return self._hand_in([], until)[1]

    def _hand_in(self, ends: list[End], until: float) -> tuple[list[bool], list[Claim]]:
        """End jobs and take the next in one go; says of each end whether it applies. Takes nothing where it is time to
        hand over, or where results would have no room."""
        over = time.monotonic() >= until
        if over or not self._has_room():
            applied = self._persist(lambda: self._store.finish(ends))
            if over:
                self._ring()
            return applied, []
        most, claim_id = self._settings.batch_size, _new_id()

        def end_and_claim() -> tuple[list[bool], list[Claim]]:
            return self._store.finish_and_claim(ends, most, claim_id=claim_id, ring=self._ring, crew=self._crew)

        return self._persist(end_and_claim)

    def _answer_all(
        self, claims: list[Claim], open_claims: dict[str, Claim], progress: Progress
    ) -> list[tuple[Claim, Result]]:
        began = time.perf_counter()
        with self._timed("decode"):
            batch = self._decode(claims, open_claims)
        if not batch:
            return []
        with self._timed("explain"):
            results = self._answer([asked for _, asked in batch], progress)
        compute_ms = 1000 * (time.perf_counter() - began)
        return [
            (claim, self._compared(claim, _with_compute_time(result, compute_ms)))
            for (claim, _), result in zip(batch, results, strict=True)
        ]

    def _decode(self, claims: list[Claim], open_claims: dict[str, Claim]) -> list[tuple[Claim, Asked]]:
        """What the batch's jobs ask, with their pictures. A job whose picture cannot be decoded fails here, and leaves
        the open claims."""
        limits = Limits.of(self._settings)
        found = with_pictures(claims, self._blobs, self._decoders, cards=self._cards, limits=limits)
        batch: list[tuple[Claim, Asked]] = []
        for claim, asked in zip(claims, found, strict=True):
            if isinstance(asked, PathlightError):
                self._fail(claim, asked)
                open_claims.pop(claim.id)
            else:
                batch.append((claim, asked))
        return batch

    def _compared(self, claim: Claim, result: Result) -> Result:
        """The result, with its differences from the parent's where the job names one."""
        parent = claim.options.parent
        if parent is None:
            return result
        from worker.explain.differences import with_differences  # brings torch, which nothing else here needs

        return with_differences(result, parent=parent, before=self._result_of(parent))

    def _result_of(self, job_id: str) -> Result | None:
        """The stored result of a job; None where it is no longer there."""
        try:
            return Result.unpack(self._blobs.get(self._store.get(job_id).result_ref or ""))
        except (UnknownJob, StorageFailed):
            return None

    def _finish(self, answered: list[tuple[Claim, Result]], leases: Leases, until: float) -> list[Claim]:
        """Store the results of a batch and end its jobs; what is to be run next."""
        ends = []
        for claim, result in answered:
            if leases.state(claim) is Lease.HELD:
                compute_ms = result.answer.timings["compute_ms"]
                packed = result.pack()
                ends.append(
                    End(
                        claim,
                        JobStatus.SUCCEEDED,
                        result_ref=self._blobs.put(packed),
                        compute_ms=compute_ms,
                        as_asked=_is_as_asked(result, claim),
                        result_bytes=len(packed),
                    )
                )
            else:
                ends += _unwanted(claim, leases.state(claim))
        applied, following = self._hand_in(ends, until)
        for end, applies in zip(ends, applied, strict=True):
            if applies and end.status is JobStatus.SUCCEEDED:
                with tracing(_trace([end.claim])):
                    log.info("job %s succeeded, its batch took %.0f ms", end.claim.id, end.compute_ms)
        return following

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """How long a stage of a batch takes is told to operators, where it comes to its end."""
        began = time.perf_counter()
        yield
        self._figures.count(observed(f"stage:{stage}", 1000 * (time.perf_counter() - began)))

    def _settle(self, claims: list[Claim], error: BaseException) -> None:
        """End or give back the jobs of a batch that broke."""
        if len(claims) > 1:
            log.warning("a batch of %d broke (%s); each job runs alone next", len(claims), type(error).__name__)
            for claim in claims:
                self._store.release(claim, solo=True)
            return
        for claim in claims:
            self._fail(claim, error)

    def _fail(self, claim: Claim, error: BaseException) -> None:
        reason = describe(error)
        unexpected = None if isinstance(error, PathlightError) else error
        with tracing(_trace([claim])):
            log.warning("job %s failed: %s", claim.id, reason.code, exc_info=unexpected)
            self._persist(lambda: self._store.fail(claim, reason))

    def _persist(self, operation: Callable[[], T]) -> T:
        """Repeat a store operation through a short absence of Redis, as long as the lease may last."""
        until = time.monotonic() + self._settings.lease_seconds
        while True:
            try:
                return operation()
            except StoreUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)


def _is_as_asked(result: Result, claim: Claim) -> bool:
    """Whether the versions of the models have answered that were current when the job was accepted."""
    models = result.answer.provenance.models
    return all(models[name].version == version for name, version in claim.versions.items() if name in models)


def _with_compute_time(result: Result, compute_ms: float) -> Result:
    """The result with the time that its batch took, from the pictures' bytes on: decoding, networks and maps."""
    return result.with_changes(timings={"compute_ms": round(compute_ms, 3)})


def _new_id() -> str:
    """Names a claim, so that it can be sent twice."""
    return secrets.token_hex(8)


def _unwanted(claim: Claim, lease: Lease) -> list[End]:
    """The end of a job whose result nobody waits for; none where it is somebody else's by now."""
    if lease is Lease.LOST:
        with tracing(_trace([claim])):
            log.warning("job %s was given to another worker; its work here is dropped", claim.id)
        return []
    return [End(claim, JobStatus.CANCELLED if lease is Lease.CANCELLED else JobStatus.EXPIRED)]


def _trace(claims: Sequence[Claim]) -> Trace:
    """What the lines of the log about these jobs belong to: nothing, where they are several."""
    return Trace(claims[0].request_id, claims[0].id) if len(claims) == 1 else Trace()


def _turn_seconds(settings: Settings) -> float:
    """How long a drain goes on: a third of its time limit at most, so that the last batch it begins has the rest for
    itself, and no longer than the keeper may wait, who has his turn behind it."""
    return min(RING_AGAIN_SECONDS, settings.soft_time_limit_seconds / 3, settings.reap_seconds)


class Leases:
    """Keeps the leases of a batch alive from a thread, every third of their length, while the work goes on. Long work
    also reports its progress here, and so hears early that a job was cancelled."""

    def __init__(self, store: JobStore, claims: Sequence[Claim], *, seconds: float) -> None:
        self._store = store
        self._claims = list(claims)
        self._pause = seconds / 3
        self._states = {claim.id: Lease.HELD for claim in claims}
        self._reported = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)

    def __enter__(self) -> Leases:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def state(self, claim: Claim) -> Lease:
        """What the newest renewal said of a job."""
        return self._states[claim.id]

    def report(self, stage: str, done: int, total: int) -> None:
        """Say how far the batch is, now and then. Raises Stopped where none of its jobs is to be finished here."""
        if time.monotonic() - self._reported < REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        try:
            self._states |= self._store.report(self._claims, done=done, total=total, stage=stage)
        except StoreUnavailable as error:
            log.warning("the progress could not be reported: %s", error)
        if all(state is not Lease.HELD for state in self._states.values()):
            raise Stopped

    def _renew(self) -> None:
        while not self._done.wait(self._pause):
            try:
                self._states |= self._store.renew(self._claims)
            except StoreUnavailable as error:
                log.warning("the leases could not be renewed: %s", error)


def describe(error: BaseException) -> JobError:
    """The code and the one safe sentence of a job that failed alone."""
    if isinstance(error, PathlightError):
        return JobError(_failure_code(error), str(error))
    if isinstance(error, SoftTimeLimitExceeded):
        return JobError("timeout", "The explanation took longer than this service allows.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return JobError("out_of_memory", "The explanation needed more memory than this worker has.")
    return JobError("internal", "The explanation failed for a reason of our own; the log of the worker has it.")


def _failure_code(error: PathlightError) -> str:
    """The contract knows one code for every picture that cannot be explained, and few for the rest."""
    if isinstance(error, InvalidImage):
        return InvalidImage.code
    return error.code if error.code in ("model_unavailable", "storage") else PathlightError.code
