"""Draining: a real store and real pictures, with explainers that misbehave on purpose."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from PIL import Image

from shared.answer.answer import Answer
from shared.blobs.blob_store import BlobStore, Swept
from shared.cards.card import ModelCard
from shared.errors import ModelUnavailable
from shared.images.masking import GREY
from shared.images.sandbox.decoders import Decoder, Decoders, Look
from shared.images.seeing import visible_square
from shared.jobs import Claim, ImageRecord, Job, JobOptions, JobStatus
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore, Submission
from shared.tracing import Trace, current
from tests.conftest import encoded, wait_for
from tests.shared.cards import card
from tests.shared.submissions import raw_client
from worker.explain.progress import OnProgress
from worker.explain.query import Query
from worker.queue.drain import Drain, Explainer
from worker.queue.keep import Keeper

Batch = Sequence[Query]
MODEL = card("m", "cat")  # sees 8 x 8 pixels, as many as the pictures have


def colour(shade: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (shade, 0, 0)))


def submit(store: JobStore, blobs: BlobStore, data: bytes, target: str = "predicted") -> str:
    image = ImageRecord(blobs.put(data), 8, 8, "PNG", "a.png")
    return store.submit(Submission(options=JobOptions(("m",), target=target), image=image))


def shade_of(query: Query) -> list[int]:
    """The first pixel that the network sees."""
    return [int(level) for level in visible_square(query.photo, MODEL.input)[0, 0]]


def shade_in(result: Result) -> list[int]:
    """What `describe` has put into the result."""
    return [int(level) for level in result.maps["shade"]]


def describe(batch: Batch, progress: OnProgress) -> list[Result]:
    """A well-behaved explainer: it says which shade each picture has, and how many came together."""
    return [
        Result(
            Answer(timings={"compute_ms": 1.0}),
            {"shade": np.array(shade_of(query), np.float32), "together": np.array([len(batch)], np.float32)},
        )
        for query in batch
    ]


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.close()


def cards_of(claim: Claim) -> Mapping[str, ModelCard]:
    return {"m": MODEL}


@pytest.fixture
def drain_of(decoders: Decoders) -> Callable[..., Drain]:
    """The drain of a store, blobs and settings, with an explainer."""
    return partial(Drain, cards=cards_of, ring=lambda: None, decoders=decoders)


@pytest.fixture
def make_drain(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> Callable[..., Drain]:
    def make(answer: Explainer, **changes: object) -> Drain:
        changed = replace(settings, **changes)  # type: ignore[arg-type]
        return drain_of(JobStore.connect(changed), blobs, changed, answer=answer)

    return make


def result_of(job: Job, blobs: BlobStore) -> Result:
    assert job.result_ref is not None
    return Result.unpack(blobs.get(job.result_ref))


def test_a_job_has_been_computing_since_its_picture_began_to_be_decoded(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Decoders.read_squares

    def slowly(decoders: Decoders, looks: Sequence[Look]) -> object:
        time.sleep(0.2)
        return read(decoders, looks)

    monkeypatch.setattr(Decoders, "read_squares", slowly)
    job_id = submit(store, blobs, colour(7))
    make_drain(describe).run()
    assert result_of(store.get(job_id), blobs).answer.timings["compute_ms"] >= 200


def test_whatever_waits_runs_as_one_batch_and_each_job_gets_its_own_result(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    ids = [submit(store, blobs, colour(shade)) for shade in range(5)]
    assert make_drain(describe).run() == 5
    for shade, job_id in enumerate(ids):
        job = store.get(job_id)
        assert job.status is JobStatus.SUCCEEDED
        result = result_of(job, blobs)
        assert shade_in(result) == [shade, 0, 0]
        assert result.maps["together"] == 5


def test_a_drain_that_cannot_take_all_calls_another_worker(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    rings: list[int] = []
    seen: list[int] = []

    def watched(batch: Batch, progress: OnProgress) -> list[Result]:
        seen.append(len(rings))
        return describe(batch, progress)

    for shade in range(5):
        submit(store, blobs, colour(shade))
    small = replace(settings, batch_size=2)
    drain_of(store, blobs, small, answer=watched, ring=lambda: rings.append(1)).run()
    assert seen == [1, 1, 1]  # once, before the first batch is begun: nobody has answered it since


def test_a_batch_has_all_cores_where_it_is_not_full_and_no_other_process_works(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    taken: list[bool] = []

    def take(*, alone: bool) -> None:
        taken.append(alone)

    few = replace(settings, batch_size=3)
    drain = drain_of(store, blobs, few, answer=describe, take_cores=take)
    for shade in range(5):
        submit(store, blobs, colour(shade))
    drain.run()
    assert taken == [False, True], "a full batch may have left something to others"
    submit(store, blobs, colour(5))
    submit(store, blobs, colour(6))
    store.claim(1, claim_id="that of another process", crew=f"{socket.gethostname()}:{os.getppid()}")
    drain.run()
    assert taken[2:] == [False]


def test_a_line_about_a_job_names_it_and_the_request_that_brought_it(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    image = ImageRecord(blobs.put(colour(1)), 8, 8, "PNG", "a.png")
    broken = ImageRecord(blobs.put(b"no picture"), 8, 8, "PNG", "b.png")
    ids = {
        store.submit(Submission(JobOptions(("m",)), picture, request_id=name)): name
        for name, picture in (("r-1", image), ("r-2", broken), ("r-3", image))
    }
    heard: list[tuple[str, Trace]] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append((record.getMessage(), current()))  # type: ignore[method-assign]
    logger = logging.getLogger("worker.queue.drain")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        make_drain(describe).run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert {trace for _, trace in heard} == {Trace(name, job_id) for job_id, name in ids.items()}
    assert all(trace.job_id in message for message, trace in heard) and current() == Trace()


def test_where_the_disk_has_no_room_for_results_jobs_wait_until_it_has(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    job_id = submit(store, blobs, colour(1))
    full = 8 * 2 * blobs.free_bytes()
    assert make_drain(describe, disk_reserve_bytes=full).run() == 0
    assert store.get(job_id).status is JobStatus.QUEUED and store.get(job_id).attempts == 0
    assert make_drain(describe, disk_reserve_bytes=full // 4).run() == 1, "uploads are refused long before"
    assert store.get(job_id).status is JobStatus.SUCCEEDED


def test_where_the_disk_fills_up_meanwhile_the_batch_ends_well_and_no_other_is_taken(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    class Filling(BlobStore):
        """Has no room left once a result was written."""

        full = False

        def put(self, data: bytes) -> str:
            self.full = True
            return super().put(data)

        def free_bytes(self) -> int:
            return 0 if self.full else super().free_bytes()

    ids = [submit(store, blobs, colour(shade)) for shade in range(2)]
    one_by_one = replace(settings, batch_size=1)
    drain = drain_of(store, Filling(settings.blobs), one_by_one, answer=describe)
    assert drain.run() == 1
    assert [store.get(job_id).status for job_id in ids] == [JobStatus.SUCCEEDED, JobStatus.QUEUED]


def test_a_drain_whose_turn_is_over_calls_another_worker(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    ids = [submit(store, blobs, colour(shade)) for shade in range(2)]
    rung: list[bool] = []
    short = replace(settings, batch_size=1, soft_time_limit_seconds=0)
    drain = drain_of(store, blobs, short, answer=describe, ring=lambda: rung.append(True))
    assert drain.run() == 1 and rung == [True, True], "for what waits behind its batch, and at the end of its turn"
    assert [store.get(job_id).status for job_id in ids] == [JobStatus.SUCCEEDED, JobStatus.QUEUED]


def test_as_many_pictures_are_read_at_a_time_as_there_are_decoders(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    together = threading.Barrier(2)

    class Meeting(BlobStore):
        """Gives a picture once two are asked for at the same time."""

        def get(self, ref: str) -> bytes:
            together.wait(timeout=5)
            return super().get(ref)

    ids = [submit(store, blobs, colour(shade)) for shade in range(4)]
    with closing(Decoders(2)) as pool:
        drain_of(store, Meeting(settings.blobs), settings, answer=describe, decoders=pool).run()
    for shade, job_id in enumerate(ids):
        assert shade_in(result_of(store.get(job_id), blobs)) == [shade, 0, 0]


def test_operators_are_told_how_long_each_stage_of_a_batch_took(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    def slow(batch: Batch, progress: OnProgress) -> list[Result]:
        time.sleep(0.04)
        return describe(batch, progress)

    for shade in range(3):
        submit(store, blobs, colour(shade))
    make_drain(slow, batch_size=2).run()
    told = store.overview().distributions("stage")
    assert {stage: sum(took.counts.values()) for (stage,), took in told.items()} == dict.fromkeys(
        ("decode", "explain", "store"), 2
    )
    assert told[("explain",)].total >= 80


def test_a_broken_picture_fails_alone(store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]) -> None:
    good, bad = submit(store, blobs, colour(1)), submit(store, blobs, colour(2)[:40])
    make_drain(describe).run()
    assert store.get(good).status is JobStatus.SUCCEEDED
    job = store.get(bad)
    assert job.status is JobStatus.FAILED and job.error is not None
    assert job.error.code == "invalid_image"


def test_no_picture_is_decoded_in_the_process_of_the_worker(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a picture is opened here")

    data, mask = colour(7), encoded(Image.new("L", (8, 8), 255))
    image = ImageRecord(blobs.put(data), 8, 8, "PNG", "a.png")
    options = JobOptions(("m",), mask=blobs.put(mask), fill="grey")
    job_id = store.submit(Submission(options=options, image=image))
    monkeypatch.setattr(Image, "open", forbidden)
    make_drain(describe).run()
    assert shade_in(result_of(store.get(job_id), blobs)) == list(GREY)


def test_a_picture_that_takes_a_decoder_too_long_fails_alone(
    store: JobStore, blobs: BlobStore, settings: Settings, drain_of: Callable[..., Drain]
) -> None:
    large = encoded(Image.new("RGBA", (5000, 5000), (9, 9, 9, 9)))
    ids = [submit(store, blobs, data) for data in (colour(0), colour(1), large, colour(3))]
    with closing(Decoders(1)) as hasty:
        hasty._all[0] = hasty._idle.queue[0] = Decoder(seconds=0.1)
        assert drain_of(store, blobs, settings, answer=describe, decoders=hasty).run() == 4
    jobs = [store.get(job_id) for job_id in ids]
    error = jobs.pop(2).error
    assert error is not None and error.code == "invalid_image" and "takes more time to decode" in error.message
    assert [shade_in(result_of(job, blobs)) for job in jobs] == [[0, 0, 0], [1, 0, 0], [3, 0, 0]]
    assert all(job.attempts == 1 for job in jobs)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SoftTimeLimitExceeded(), "timeout"),
        (MemoryError(), "out_of_memory"),
        (ModelUnavailable("not ready"), "model_unavailable"),
        (RuntimeError("secret detail"), "internal"),
    ],
)
def test_a_fault_in_a_batch_is_charged_to_the_one_job_that_has_it(
    error: Exception, code: str, store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    def answer(batch: Batch, progress: OnProgress) -> list[Result]:
        if any(query.options.target == "poison" for query in batch):
            raise error
        return describe(batch, progress)

    good = [submit(store, blobs, colour(shade)) for shade in range(3)]
    poison = submit(store, blobs, colour(9), target="poison")
    make_drain(answer).run()
    assert all(store.get(job_id).status is JobStatus.SUCCEEDED for job_id in good)
    job = store.get(poison)
    assert job.status is JobStatus.FAILED and job.error is not None
    assert job.error.code == code
    assert "secret" not in job.error.message
    assert job.attempts == 1


def test_a_worker_that_is_told_to_stop_gives_its_jobs_back_uncharged(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    def stopped(batch: Batch, progress: OnProgress) -> list[Result]:
        raise SystemExit

    ids = [submit(store, blobs, colour(shade)) for shade in range(3)]
    with pytest.raises(SystemExit):
        make_drain(stopped).run()
    for job_id in ids:
        job = store.get(job_id)
        assert job.status is JobStatus.QUEUED
        assert job.attempts == 0


def test_work_longer_than_its_lease_keeps_the_lease(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    def slow(batch: Batch, progress: OnProgress) -> list[Result]:
        time.sleep(2.5)
        return describe(batch, progress)

    job_id = submit(store, blobs, colour(1))
    drain = make_drain(slow, lease_seconds=1)
    thread = threading.Thread(target=drain.run)
    thread.start()
    while thread.is_alive():
        store.reap()
        time.sleep(0.02)
    job = store.get(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.attempts == 1


def test_a_running_job_that_is_cancelled_ends_cancelled(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    started = threading.Event()

    def slow(batch: Batch, progress: OnProgress) -> list[Result]:
        started.set()
        time.sleep(0.6)
        return describe(batch, progress)

    job_id = submit(store, blobs, colour(1))
    thread = threading.Thread(target=make_drain(slow, lease_seconds=0.3).run)
    thread.start()
    started.wait(5)
    store.cancel(job_id)
    thread.join()
    assert store.get(job_id).status is JobStatus.CANCELLED


def test_a_long_job_says_how_far_it_is_and_ends_within_two_seconds_of_being_cancelled(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    def endless(batch: Batch, progress: OnProgress) -> list[Result]:
        for done in range(600):
            time.sleep(0.05)
            progress("rise", done, 600)
        return describe(batch, progress)

    job_id = submit(store, blobs, colour(1))
    thread = threading.Thread(target=make_drain(endless).run)
    thread.start()
    wait_for(lambda: store.get(job_id).progress is not None, seconds=5)
    progress = store.get(job_id).progress
    assert progress is not None and progress.stage == "rise" and 0 < progress.done < progress.total == 600
    store.cancel(job_id)
    wait_for(lambda: store.get(job_id).status is JobStatus.CANCELLED, seconds=2)
    thread.join()


def test_a_batch_goes_on_while_one_of_its_jobs_is_wanted(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    reported = threading.Event()

    def slow(batch: Batch, progress: OnProgress) -> list[Result]:
        for done in range(20):
            time.sleep(0.05)
            progress("cam", done, 20)
            reported.set()
        return describe(batch, progress)

    unwanted, wanted = submit(store, blobs, colour(1)), submit(store, blobs, colour(2))
    thread = threading.Thread(target=make_drain(slow).run)
    thread.start()
    reported.wait(5)
    store.cancel(unwanted)
    thread.join()
    assert store.get(unwanted).status is JobStatus.CANCELLED
    assert store.get(wanted).status is JobStatus.SUCCEEDED


def test_a_lost_blob_is_a_failure_of_storage(
    store: JobStore, blobs: BlobStore, make_drain: Callable[..., Drain]
) -> None:
    job_id = submit(store, blobs, colour(1))
    blobs.discard(store.get(job_id).image.sha256)
    make_drain(describe).run()
    job = store.get(job_id)
    assert job.error is not None and job.error.code == "storage"


def test_jobs_of_a_worker_that_died_are_run_again_by_another(
    blobs: BlobStore, settings: Settings, make_store: Callable[..., JobStore], drain_of: Callable[..., Drain]
) -> None:
    hasty = make_store(lease_seconds=0.1)
    ids = [submit(hasty, blobs, colour(shade)) for shade in range(4)]
    assert len(hasty.claim(8, claim_id="dead worker")) == 4
    rings: list[bool] = []
    keeper = Keeper(hasty, blobs, settings, ring=lambda: rings.append(True))

    def rung() -> bool:
        keeper.run()
        return bool(rings)

    wait_for(rung, seconds=5)
    drain_of(hasty, blobs, settings, answer=describe).run()
    for job_id in ids:
        job = hasty.get(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert result_of(job, blobs).maps["together"] == 1  # quarantined: one of them may be what killed the worker


def test_the_keeper_leaves_leases_alone_when_the_clock_jumped(
    blobs: BlobStore, settings: Settings, make_store: Callable[..., JobStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = make_store(lease_seconds=0.1)
    job_id = submit(hasty, blobs, colour(1))
    hasty.claim(1, claim_id="a")
    keeper = Keeper(hasty, blobs, settings, ring=lambda: None)
    keeper.run()
    time.sleep(0.2)
    real = hasty.now_ms
    monkeypatch.setattr(hasty, "now_ms", lambda: real() + 3_600_000)
    keeper.run()
    assert hasty.get(job_id).status is JobStatus.RUNNING
    keeper.run()
    assert hasty.get(job_id).status is JobStatus.QUEUED


def test_a_clock_that_was_set_back_does_not_keep_the_jobs_of_a_dead_worker(
    blobs: BlobStore, settings: Settings, make_store: Callable[..., JobStore]
) -> None:
    hasty = make_store(lease_seconds=0.1)
    job_id = submit(hasty, blobs, colour(1))
    hasty.claim(1, claim_id="a worker that dies")
    with raw_client(settings) as raw:
        raw.zincrby(f"{PREFIX}running", 3_600_000, job_id)  # as if Redis's clock had been set back by an hour
    hasty.reap()
    time.sleep(0.2)
    hasty.reap()
    assert hasty.get(job_id).status is JobStatus.QUEUED


def test_the_sweep_removes_old_blobs_that_no_job_names_and_no_others(
    store: JobStore, blobs: BlobStore, settings: Settings
) -> None:
    wanted = submit(store, blobs, colour(1))
    orphan = blobs.put(b"an upload that was never submitted")
    keeper = Keeper(store, blobs, settings, ring=lambda: None)
    assert keeper.sweep(older_than=60) == Swept()
    with blobs.unswept():
        assert keeper.sweep(older_than=-1) == Swept(), "a backup is at work"
    assert keeper.sweep(older_than=-1) == Swept(1, len(b"an upload that was never submitted"))
    assert blobs.get(store.get(wanted).image.sha256) == colour(1)
    assert not (settings.blobs / orphan[:2] / orphan).exists()
