"""What a pool's child computes on: all cores for a batch that leaves nothing waiting, else its share of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from PIL import Image

from shared.answer.answer import Answer
from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cores import usable_cores
from shared.jobs import ImageRecord, JobOptions
from shared.results import Result
from shared.settings import Settings
from shared.store.job_store import JobStore, Submission
from tests.conftest import encoded
from worker.explain.query import Query
from worker.queue.tasks import build_drain


@pytest.fixture
def threads() -> Iterator[None]:
    """Those of this process are as before afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_full_batch_gets_a_share_of_the_cores_and_the_last_one_all(
    store: JobStore,
    blobs: BlobStore,
    settings: Settings,
    photos: dict[str, Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, int]] = []

    def answer(model_cache: object, batch: Sequence[Query], *, progress: object) -> list[Result]:
        seen.append((len(batch), torch.get_num_threads()))
        return [Result(Answer(timings={"compute_ms": 1.0}), {}) for _ in batch]

    monkeypatch.setattr("worker.explain.answers.answer", answer)
    image = ImageRecord(blobs.put(encoded(photos["chelsea"])), 451, 300, "PNG", "a.png")
    for _ in range(3):
        store.submit(Submission(options=JobOptions(("nbdt-cifar10",)), image=image))
    drain = build_drain(replace(settings, batch_size=2, concurrency=2), Bell(make_celery(settings)))
    assert drain.run() == 3
    assert seen == [(2, max(1, usable_cores() // 2)), (1, usable_cores())]
