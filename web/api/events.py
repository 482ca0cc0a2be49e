"""A job's changes as server-sent events. An open stream holds a thread of the server, so their number is bounded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

from flask import Response, request, stream_with_context

from shared import json_text
from shared.errors import PathlightError
from shared.jobs import Job
from shared.settings import Settings
from shared.store.changes import Changes
from shared.store.job_store import JobStore
from web.api.jobs import Jobs
from web.http import access
from web.http.problems import TooManyStreams
from web.http.turns import Turns, share_of

log = logging.getLogger(__name__)

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0  # between two comments, by which a client that has gone is noticed, too
KEEP_ALIVE = ": the job goes on\n\n"


class Streams:
    """The event streams of this process."""

    def __init__(self, settings: Settings, *, store: JobStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._turns = Turns(
            "event streams",
            at_once=settings.event_streams,
            of_one=share_of(settings.event_streams),
            busy=lambda: TooManyStreams(f"{settings.event_streams} event streams are open already; poll the job"),
        )

    def open(self, job_id: str) -> Response:
        """The stream of a job, from its present state to its end. Raises TooManyStreams; UnknownJob and Gone."""
        job = self._jobs.get(job_id)
        if job.status.is_terminal or request.method == "HEAD":
            return _response([self._event(job)])
        sharer = access.sharer()
        self._turns.take(sharer)
        try:
            changes = self._store.changes(job)
        except PathlightError:
            self._turns.give_back(sharer)
            raise
        response = _response(stream_with_context(self._events(job_id, changes)))
        response.call_on_close(partial(self._close, changes, sharer))
        return response

    def _close(self, changes: Changes, sharer: str) -> None:
        changes.close()
        self._turns.give_back(sharer)

    def _events(self, job_id: str, changes: Changes) -> Iterator[str]:
        sent = ""
        try:
            while True:
                job = self._jobs.get(job_id)
                if (event := self._event(job)) != sent:
                    yield event
                    sent = event
                if job.status.is_terminal:
                    return
                if not changes.wait(KEEP_ALIVE_SECONDS):
                    yield KEEP_ALIVE
        except PathlightError as error:  # the stream ends early, and its client asks again or polls
            log.warning("the event stream of job %s ended: %s", job_id, error)

    def _event(self, job: Job) -> str:
        return f"event: job\ndata: {json_text.encode(self._jobs.document(job).to_dict()).decode()}\n\n"


def _response(events: Iterator[str] | list[str]) -> Response:
    response = Response(events, content_type=EVENT_STREAM)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # a proxy that buffers would hold events back
    return response
