"""The real worker with an explainer that does what the picture says: `celery --app tests.faults.worker worker`.

Store and blobs are the product's, watched: each claim and each end is written into the history, and a picture may ask
that the process dies at a certain point. PATHLIGHT_FAULTS_DEFECT plants a defect, to show that the checker finds it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from shared.answer.answer import Answer, Provenance
from shared.blobs.blob_store import BlobStore
from shared.broker import DRAIN, Bell
from shared.cards.card import ModelCard
from shared.images.sandbox.decoders import Decoders
from shared.images.seeing import visible_square
from shared.jobs import Claim, JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import End, JobStore, Lease, Ring
from shared.transport import Channel, Receipts
from tests.faults.history import DEFECT, DIE_ON_RECEIPT, FOLDER, Claimed, Finished, Recorder, Struck, now
from tests.faults.pictures import TICK_SECONDS, Behaviour, Marked
from tests.shared.cards import card
from worker.app import app
from worker.explain.progress import OnProgress
from worker.explain.query import Query
from worker.queue import tasks
from worker.queue.drain import Drain
from worker.queue.leases import Leases

__all__ = ["app"]

MARKS = card("marks", "mark")  # it sees 8 x 8 pixels, as many as a marked picture has
ROW_OF = {
    Behaviour.EXIT: 5,
    Behaviour.SEGFAULT: 5,
    Behaviour.OUT_OF_MEMORY: 6,
    Behaviour.HANG: 7,
    Behaviour.HANG_HOLDING_GIL: 7,
}

folder = Path(os.environ[FOLDER])
defect = os.environ.get(DEFECT, "")
# A worker that is asked to (row 2) stands still in its event loop, as after a lost race within its libraries.
signal.signal(signal.SIGUSR2, lambda number, frame: time.sleep(3600))
# Behaviour and number of the pictures that this process is running and that ask for its death at a point to come.
_armed: set[tuple[Behaviour, int]] = set()


@cache
def recorder(pid: int) -> Recorder:
    return Recorder(folder / "history" / f"worker-{pid}.jsonl")


def record_strike(fault: str, *, row: int, dies: bool, costs: bool = True) -> None:
    """Say that a fault happens now, in this process."""
    pid = os.getpid()
    proof = f"process {pid} came to this line"
    recorder(pid).add(Struck(now(), row, fault, proof, pid if dies else 0, costs))


def die(fault: str, *, row: int) -> None:
    record_strike(fault, row=row, dies=True)
    os.kill(os.getpid(), signal.SIGKILL)


def pass_point(point: Behaviour) -> None:
    """Die here where a picture asked for it and nobody has died for it before."""
    for behaviour, number in sorted(_armed):
        if behaviour is point and _first_time(number):
            die(f"killed at {point.name.lower()}", row=4)


def _first_time(number: int) -> bool:
    try:
        (folder / f"died-{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def cards(claim: Claim) -> dict[str, ModelCard]:
    """A model that sees every pixel of a mark."""
    return {"marks": MARKS}


def explain(batch: Sequence[Query], progress: OnProgress) -> list[Result]:
    """Do what each picture says; the answer repeats the picture's digest."""
    marks = [Marked.read(visible_square(query.photo, MARKS.input).tobytes()) for query in batch]
    _armed.clear()
    _armed.update((mark.behaviour, mark.number) for mark in marks)
    for mark in marks:
        time.sleep(mark.ticks * TICK_SECONDS)
        _act(mark.behaviour)
    pass_point(Behaviour.DIE_ANSWERING)
    return [
        Result(Answer(provenance=Provenance(versions={"digest": mark.digest}), timings={"compute_ms": 1.0}), {})
        for mark in marks
    ]


def _act(behaviour: Behaviour) -> None:
    if behaviour not in ROW_OF:
        return
    dies = behaviour in (Behaviour.EXIT, Behaviour.SEGFAULT)
    costs = dies or behaviour is Behaviour.HANG_HOLDING_GIL
    record_strike(behaviour.name.lower().replace("_", " "), row=ROW_OF[behaviour], dies=dies, costs=costs)
    match behaviour:
        case Behaviour.EXIT:
            os._exit(1)
        case Behaviour.SEGFAULT:
            ctypes.string_at(0)
        case Behaviour.OUT_OF_MEMORY:
            bytearray(1 << 62)
        case Behaviour.HANG:
            time.sleep(3600)
        case Behaviour.HANG_HOLDING_GIL:
            ctypes.PyDLL(None).sleep(3600)


class WatchedStore(JobStore):
    """The job store, with each claim and each end written down."""

    def claim(
        self, most: int, *, claim_id: str, woken: bool = False, ring: Ring | None = None, crew: str = ""
    ) -> list[Claim]:
        claims = super().claim(most, claim_id=claim_id, woken=woken, ring=ring, crew=crew)
        record_claims(claims)
        return claims

    def finish(self, ends: Sequence[End]) -> list[bool]:
        pass_point(Behaviour.DIE_BEFORE_FINISH)
        applied = super().finish(ends)
        record_ends(ends, applied)
        pass_point(Behaviour.DIE_AFTER_FINISH)
        return applied

    def finish_and_claim(
        self, ends: Sequence[End], most: int, *, claim_id: str, ring: Ring | None = None, crew: str = ""
    ) -> tuple[list[bool], list[Claim]]:
        if not ends:
            return [], self.claim(most, claim_id=claim_id, ring=ring, crew=crew)
        pass_point(Behaviour.DIE_BEFORE_FINISH)
        applied, claims = super().finish_and_claim(ends, most, claim_id=claim_id, ring=ring, crew=crew)
        record_ends(ends, applied)
        record_claims(claims)
        pass_point(Behaviour.DIE_AFTER_FINISH)
        return applied, claims


def record_claims(claims: Sequence[Claim]) -> None:
    for claim in claims:
        recorder(os.getpid()).add(Claimed(now(), claim.id, claim.fence, claim.attempt, os.getpid()))


def record_ends(ends: Sequence[End], applied: Sequence[bool]) -> None:
    for end, applies in zip(ends, applied, strict=True):
        recorder(os.getpid()).add(Finished(now(), end.claim.id, end.claim.fence, applies, os.getpid()))


class WatchedBlobs(BlobStore):
    """The blob store, where a process may die before or after it has written."""

    def put(self, data: bytes) -> str:
        pass_point(Behaviour.DIE_BEFORE_BLOB)
        ref = super().put(data)
        pass_point(Behaviour.DIE_AFTER_BLOB)
        return ref


def build_drain(settings: Settings, bell: Bell) -> Drain:
    """The product's drain around the test explainer."""
    store, blobs = WatchedStore.connect(settings), WatchedBlobs(settings.blobs)
    kind = {"finish first": FinishFirst}.get(defect, Drain)
    if defect == "no fence":
        _ignore_fence(store)
    if defect == "no renewal":
        Leases._renew = lambda self: None  # type: ignore[method-assign]
    return kind(store, blobs, settings, cards=cards, answer=explain, ring=bell.ring, decoders=Decoders(1))


class FinishFirst(Drain):
    """A planted defect: the job ends before its result is written."""

    def _stored(self, claim: Claim, result: Result, compute_ms: float) -> End:
        data = result.pack()
        self._store.succeed(claim, hashlib.sha256(data).hexdigest(), compute_ms=compute_ms)
        return End(claim, JobStatus.SUCCEEDED, result_ref=self._blobs.put(data), compute_ms=compute_ms)


def _ignore_fence(store: JobStore) -> None:
    """A planted defect: whoever comes late may still end a job, whatever its lease."""
    Leases.state = lambda self, claim: Lease.HELD  # type: ignore[method-assign]
    scripts = store._scripts._scripts
    script = scripts["finish"]
    text = script.script.decode() if isinstance(script.script, bytes) else str(script.script)
    fenced = "if state[2] ~= one.fence then return 0 end"
    assert fenced in text
    scripts["finish"] = store._redis.register_script(text.replace(fenced, ""))


class DyingReceipts(Receipts):
    """Dies on request after a message was popped and before kombu has noted it: the message is gone."""

    def append(self, message: Any, delivery_tag: str) -> None:
        if message.headers.get("task") == DRAIN and _take(folder / DIE_ON_RECEIPT):
            die("worker killed between receipt and book-keeping of a message", row=3)
        super().append(message, delivery_tag)


def _take(file: Path) -> bool:
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


Channel.QoS = DyingReceipts
tasks.build_drain = build_drain
