"""Job records: what crosses a process arrives as it left."""

from __future__ import annotations

import json

import pytest

from shared.jobs import TERMINAL, ImageRecord, Job, JobError, JobOptions, JobStatus, Lane, rfc3339

OPTIONS = JobOptions(("a", "b"), ("cam",), "tabby", "runner-up", "soft", "basic")
IMAGE = ImageRecord("0" * 64, 4, 3, "PNG", "Kätzchen.png")


def test_queued_and_running_are_the_only_states_that_end() -> None:
    assert [status.value for status in JobStatus if not status.is_terminal] == ["queued", "running"]
    assert TERMINAL == ("succeeded", "failed", "cancelled", "expired")


def test_options_survive_the_way_through_json() -> None:
    assert JobOptions.from_dict(json.loads(json.dumps(OPTIONS.to_dict()))) == OPTIONS
    assert JobOptions.from_dict({"models": ["m"], "methods": ["cam"]}) == JobOptions(("m",), ("cam",))


def test_an_image_record_and_an_error_survive_the_way_through_json() -> None:
    assert ImageRecord(**json.loads(json.dumps(IMAGE.to_dict()))) == IMAGE
    error = JobError("timeout", "It took too long.")
    assert JobError(**json.loads(json.dumps(error.to_dict()))) == error


def test_a_job_is_read_from_the_fields_that_the_store_keeps() -> None:
    fields = {
        "status": "failed",
        "lane": "bulk",
        "options": json.dumps(OPTIONS.to_dict()),
        "image": json.dumps(IMAGE.to_dict()),
        "created": "1000",
        "started": "2000",
        "finished": "3000",
        "attempts": "2",
        "result": "",
        "error": '{"code": "timeout", "message": "It took too long."}',
    }
    job = Job.from_hash("x", fields)
    assert (job.id, job.status, job.lane, job.options, job.image) == ("x", JobStatus.FAILED, Lane.BULK, OPTIONS, IMAGE)
    assert (job.created_ms, job.started_ms, job.finished_ms, job.attempts) == (1000, 2000, 3000, 2)
    assert (job.result_ref, job.cached) == (None, False)
    assert job.error == JobError("timeout", "It took too long.")


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(milliseconds: int | None, text: str | None) -> None:
    assert rfc3339(milliseconds) == text


def test_no_millisecond_is_lost_to_rounding() -> None:
    start = 1_700_000_000_000
    assert all(rfc3339(start + i)[-4:-1] == f"{i:03}" for i in range(1000))
