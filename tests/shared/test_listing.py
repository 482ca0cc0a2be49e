"""Lists of jobs in the store: newest first, by owner and by state, stable while new jobs come."""

from __future__ import annotations

import pytest

from shared.errors import UnknownJob
from shared.jobs import JobError, JobStatus
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.shared.submissions import collect, raw_client, submission


def pages(store: JobStore, *, most: int, viewer: str | None = None, submit_between: bool = False) -> list[list[str]]:
    """The ids of every page, from the first to the last."""
    found: list[list[str]] = []
    while True:
        jobs, more = store.newest(viewer=viewer, before=found[-1][-1] if found else None, most=most)
        found.append([job.id for job in jobs])
        if not more:
            return found
        if submit_between:
            store.submit(submission())


def test_jobs_are_listed_newest_first_page_by_page(store: JobStore) -> None:
    ids = [store.submit(submission()) for _ in range(7)][::-1]
    assert pages(store, most=3) == [ids[:3], ids[3:6], ids[6:]]
    assert pages(store, most=7) == [ids]
    assert pages(store, most=100) == [ids]


def test_an_empty_list_is_one_empty_page(store: JobStore) -> None:
    assert pages(store, most=3) == [[]]


def test_jobs_that_come_meanwhile_move_no_page(store: JobStore) -> None:
    ids = [store.submit(submission()) for _ in range(7)][::-1]
    assert pages(store, most=3, submit_between=True) == [ids[:3], ids[3:6], ids[6:]]


def test_a_list_holds_its_owners_jobs_alone_and_everybodys_holds_all(store: JobStore) -> None:
    mine = [store.submit(submission(owner="me")) for _ in range(2)][::-1]
    yours = store.submit(submission(owner="you"))
    nobodys = store.submit(submission())
    assert pages(store, most=9, viewer="me") == [mine]
    assert pages(store, most=9, viewer="you") == [[yours]]
    assert pages(store, most=9, viewer="") == [[nobodys]]
    assert pages(store, most=9, viewer="stranger") == [[]]
    assert pages(store, most=9) == [[nobodys, yours, *mine]]


def test_a_list_goes_on_from_no_job_that_its_reader_may_not_see(store: JobStore) -> None:
    mine, yours = store.submit(submission(owner="me")), store.submit(submission(owner="you"))
    assert store.newest(viewer="me", before=mine) == ([], False)
    for hidden in (yours, "unknown"):
        with pytest.raises(UnknownJob):
            store.newest(viewer="me", before=hidden)
    assert store.newest(before=yours)[0] == [store.get(mine)]


def test_a_job_is_listed_under_the_state_it_is_in(store: JobStore) -> None:
    job_id = store.submit(submission(owner="me"))

    def states() -> list[JobStatus]:
        return [status for status in JobStatus if store.newest(viewer="me", status=status)[0]]

    assert states() == [JobStatus.QUEUED]
    claim = store.claim(1, claim_id="a")[0]
    assert states() == [JobStatus.RUNNING]
    store.release(claim)
    assert states() == [JobStatus.QUEUED]
    store.fail(store.claim(1, claim_id="b")[0], JobError("internal", "It broke."))
    assert states() == [JobStatus.FAILED]
    assert store.newest(status=JobStatus.FAILED)[0] == [store.get(job_id)]


def test_a_forgotten_job_leaves_no_trace_in_any_list(store: JobStore, settings: Settings) -> None:
    kept, gone = store.submit(submission(owner="me")), store.submit(submission(owner="me"))
    store.cancel(gone)
    with raw_client(settings) as raw:
        raw.zadd("pathlight:expiry", {gone: 1})
        assert collect(store) == [gone]
        listed = {key: raw.zrange(key, 0, -1) for kind in ("jobs", "owned") for key in raw.keys(f"pathlight:{kind}:*")}
    assert len(listed) == 4 and all(ids == [kept] for ids in listed.values())
