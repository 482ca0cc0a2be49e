"""The caller's jobs: found, listed, and shown as the contract has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from flask import request

from shared.blobs.blob_store import BlobStore
from shared.documents import JobDocument, JobSummary, job_document, job_summary
from shared.errors import InvalidOption, UnknownJob
from shared.jobs import Job, JobStatus
from shared.results import Result, unpack_answer
from shared.store.job_store import JobStore
from web.http import access
from web.http.problems import Gone


class Jobs:
    """Reads jobs and their stored results. Results never change, so that the newest few are kept at hand."""

    def __init__(self, store: JobStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs
        self._result = lru_cache(maxsize=64)(lambda ref: Result.unpack(blobs.get(ref)))
        self._answer = lru_cache(maxsize=64)(lambda ref: unpack_answer(blobs.get(ref)))

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob, or Gone for a job whose retention has passed. Whose job the caller may not see is unknown,
        and is found so by the same steps."""
        viewer = access.caller().viewer
        with gone_if_collected(self._store, job_id, viewer=viewer, what="the job and its result"):
            return self._store.get(job_id, viewer=viewer)

    def forget(self, name: str) -> None:
        """Forget a job, or a batch with its members, that has ended, and the files that nothing else names. Raises
        UnknownJob, JobConflict."""
        self._blobs.remove(self._store.forget(name), self._store.referenced)

    def result(self, job: Job) -> Result:
        """The stored result of a succeeded job. Raises UnknownJob where it has none."""
        return self._result(_result_ref(job))

    def picture(self, job: Job) -> bytes:
        """The picture as it was uploaded."""
        return self._blobs.get(job.image.sha256)

    def mask(self, job: Job) -> bytes | None:
        """The mask of a what-if as it was uploaded."""
        return None if job.options.mask is None else self._blobs.get(job.options.mask)

    def page(self, *, status: JobStatus | None, most: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """The caller's jobs, newest first, and the cursor of the page that follows. Raises InvalidOption for a cursor
        that is none."""
        viewer, before = access.caller().viewer, None if cursor is None else _last(cursor)
        try:
            found, more = self._store.newest(viewer=viewer, status=status, before=before, most=most)
        except UnknownJob:
            raise InvalidOption("cursor: the job that it goes on from is no longer kept; begin again") from None
        return found, _cursor(found[-1].id) if more and found else None

    def document(self, job: Job) -> JobDocument:
        """The job of the contract."""
        answer = self._answer(_result_ref(job)) if job.status is JobStatus.SUCCEEDED else None
        return job_document(job, answer, base=request.script_root)

    def permitted_document(self, job: Job) -> JobDocument:
        """As `document`; without the result where the caller may submit or change jobs, but not read."""
        return self.document(job) if access.may_read() else job_document(job, None, base=request.script_root)

    def summary(self, job: Job) -> JobSummary:
        """The same without the result."""
        return job_summary(job, base=request.script_root)


@contextmanager
def gone_if_collected(store: JobStore, name: str, *, viewer: str | None, what: str) -> Iterator[None]:
    """Around a look for a job or a batch: raises Gone in place of UnknownJob where its retention has passed."""
    try:
        yield
    except UnknownJob:
        if store.is_collected(name, viewer=viewer):
            raise Gone(f"{what} were removed when their retention had passed") from None
        raise


def _result_ref(job: Job) -> str:
    if job.status is not JobStatus.SUCCEEDED or job.result_ref is None:
        raise UnknownJob("the job has no result")
    return job.result_ref


def _cursor(last: str) -> str:
    """Where a page of a list ended, by a job that its reader has seen: it tells nothing of anybody else's."""
    return base64.urlsafe_b64encode(f"before {last}".encode()).decode()


def _last(cursor: str) -> str:
    try:
        word, _, last = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, UnicodeError):
        word, last = "", ""
    if word != "before" or not last.isprintable():
        raise InvalidOption("cursor: it is none of ours; take the address that next gives")
    return last
