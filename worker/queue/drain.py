"""Work off what waits, batch after batch: claim, decode, answer, store, end and claim.

Faults are sorted here. A picture that cannot be decoded fails alone. Anything that breaks a batch of several sends
every member back for a run of its own, so that only the job at fault is charged with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from shared.blobs.blob_store import BlobStore
from shared.errors import PathlightError, StorageFailed, StoreUnavailable, UnknownJob
from shared.images.decode import Limits
from shared.images.sandbox.decoders import Decoders
from shared.jobs import Claim, JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.counters import Counters
from shared.store.job_store import End, JobStore, Lease
from shared.store.overview import observed
from shared.tracing import Trace, tracing
from worker.explain.progress import OnProgress
from worker.explain.query import Query
from worker.queue.failures import failure_of
from worker.queue.leases import Leases, Unwanted
from worker.queue.pictures import Cards, with_pictures

log = logging.getLogger(__name__)
T = TypeVar("T")

RESULT_ROOM = 1 / 8  # of the reserve on the disk, which uploads leave to results; below it jobs wait rather than fail
RING_AGAIN_SECONDS = 10.0  # a drain hands over to a new task after so long; see `_turn_seconds`


class TakeCores(Protocol):
    """Told before each batch whether the other processes of the worker leave it their cores."""

    def __call__(self, *, alone: bool) -> None: ...


Explainer = Callable[[Sequence[Query], OnProgress], list[Result]]
"""Answers a batch of pictures with what is asked of each, in order: `answers.answer` with its models at hand."""


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
        take_cores: TakeCores | None = None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._cards = cards
        self._answer = answer
        self._ring = ring
        self._decoders = decoders
        self._take_cores = take_cores
        self._counters = Counters(store)
        self._crew = f"{socket.gethostname()}:{os.getppid()}"  # the processes of this worker

    def run(self) -> int:
        """Work off batches until nothing waits or it is time to hand over; how many jobs were claimed."""
        until = time.monotonic() + _turn_seconds(self._settings)
        total = 0
        claims = self._claim()
        while claims:
            total += len(claims)
            with tracing(_trace(claims)), self._given_back_at_a_stop(claims):
                ends = self._work_off(claims)
                claims = self._end_and_claim(ends, until)
        if total:
            self._counters.try_to_flush()
        return total

    def _claim(self) -> list[Claim]:
        """The first batch of a drain, which answers a doorbell."""
        if not self._has_room():
            return []
        most = self._settings.batch_size
        return self._store.claim(most, claim_id=_new_id(), woken=True, ring=self._ring, crew=self._crew)

    def _work_off(self, claims: list[Claim]) -> list[End]:
        """Decode and answer the pictures of a batch and store the results; how its jobs end. A job has no end here that
        has failed alone, was given back, or is somebody else's by now."""
        try:
            with Leases(self._store, claims, seconds=self._settings.lease_seconds) as leases:
                began = time.perf_counter()
                batch = self._decode(claims)
                results = self._answer_all(batch, leases)
                compute_ms = 1000 * (time.perf_counter() - began)
                return self._store_results(batch, results, leases, compute_ms)
        except StoreUnavailable:
            raise  # the leases run out and the keeper gives the jobs to whoever can reach the store
        except Exception as error:
            self._settle(claims, error)
            return []

    def _decode(self, claims: list[Claim]) -> list[tuple[Claim, Query]]:
        """What the batch's jobs ask, with their pictures. A job whose picture cannot be decoded fails here."""
        with self._timed("decode"):
            limits = Limits.of(self._settings)
            queries = with_pictures(claims, self._blobs, self._decoders, cards=self._cards, limits=limits)
        batch: list[tuple[Claim, Query]] = []
        for claim, query in zip(claims, queries, strict=True):
            if isinstance(query, PathlightError):
                self._fail(claim, query)
            else:
                batch.append((claim, query))
        return batch

    def _answer_all(self, batch: list[tuple[Claim, Query]], leases: Leases) -> list[Result | None]:
        """The result of each job; None for all where nobody waits for any."""
        if not batch:
            return []
        if self._take_cores:
            self._take_cores(alone=self._has_the_cores([claim for claim, _ in batch]))
        try:
            with self._timed("explain"):
                return list(self._answer([query for _, query in batch], leases.report))
        except Unwanted:
            return [None] * len(batch)

    def _store_results(
        self, batch: list[tuple[Claim, Query]], results: list[Result | None], leases: Leases, compute_ms: float
    ) -> list[End]:
        """Store what is still wanted; how the jobs end."""
        with self._timed("store"):
            ends = [
                _unwanted(claim, leases.state(claim))
                if result is None or leases.state(claim) is not Lease.HELD
                else self._stored(claim, result, compute_ms)
                for (claim, _), result in zip(batch, results, strict=True)
            ]
        return [end for end in ends if end is not None]

    def _stored(self, claim: Claim, result: Result, compute_ms: float) -> End:
        """Store a result, with the time that its batch took from the pictures' bytes on."""
        timed = result.with_changes(timings={"compute_ms": round(compute_ms, 3)})
        packed = self._compared(claim, timed).pack()
        return End(
            claim,
            JobStatus.SUCCEEDED,
            result_ref=self._blobs.put(packed),
            compute_ms=compute_ms,
            as_asked=_is_as_asked(result, claim),
            result_bytes=len(packed),
        )

    def _end_and_claim(self, ends: list[End], until: float) -> list[Claim]:
        """End jobs and take the next in one go. Takes nothing where it is `until`, and another worker is called, or
        where results would have no room."""
        claims: list[Claim] = []
        over = time.monotonic() >= until
        if over or not self._has_room():
            applied = self._persist(lambda: self._store.finish(ends))
            if over:
                self._ring()
        else:
            most, claim_id = self._settings.batch_size, _new_id()
            applied, claims = self._persist(
                lambda: self._store.finish_and_claim(ends, most, claim_id=claim_id, ring=self._ring, crew=self._crew)
            )
        for end, applies in zip(ends, applied, strict=True):
            if applies and end.status is JobStatus.SUCCEEDED:
                with tracing(_trace([end.claim])):
                    log.info("job %s succeeded, its batch took %.0f ms", end.claim.id, end.compute_ms)
        return claims

    # -- what the steps stand on -------------------------------------------------------------------------------------

    @contextmanager
    def _given_back_at_a_stop(self, claims: list[Claim]) -> Iterator[None]:
        """Where the worker itself is stopped, others take over at once, and nobody is charged."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            for claim in claims:
                self._store.release(claim)
            raise

    def _has_the_cores(self, claims: Sequence[Claim]) -> bool:
        """Whether the other processes of the worker have nothing to do. A full batch may have left something."""
        return len(claims) < self._settings.batch_size and all(claim.is_alone for claim in claims)

    def _has_room(self) -> bool:
        if self._blobs.free_bytes() >= RESULT_ROOM * self._settings.disk_reserve_bytes:
            return True
        log.warning("the disk has no room for results; jobs wait until it has")
        return False

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

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """How long a stage of a batch takes is told to operators, where it comes to its end."""
        began = time.perf_counter()
        yield
        self._counters.count(observed(f"stage:{stage}", 1000 * (time.perf_counter() - began)))

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
        reason = failure_of(error)
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


def _new_id() -> str:
    """Names a claim, so that it can be sent twice."""
    return secrets.token_hex(8)


def _unwanted(claim: Claim, lease: Lease) -> End | None:
    """The end of a job whose result nobody waits for; none where it is somebody else's by now."""
    if lease is Lease.LOST:
        with tracing(_trace([claim])):
            log.warning("job %s was given to another worker; its work here is dropped", claim.id)
        return None
    return End(claim, JobStatus.CANCELLED if lease is Lease.CANCELLED else JobStatus.EXPIRED)


def _trace(claims: Sequence[Claim]) -> Trace:
    """What the lines of the log about these jobs belong to: nothing, where they are several."""
    return Trace(claims[0].request_id, claims[0].id) if len(claims) == 1 else Trace()


def _turn_seconds(settings: Settings) -> float:
    """How long a drain goes on: a third of its time limit at most, so that the last batch it begins has the rest for
    itself, and no longer than the keeper may wait, who has his turn behind it."""
    return min(RING_AGAIN_SECONDS, settings.soft_time_limit_seconds / 3, settings.reap_seconds)
