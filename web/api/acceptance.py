"""From a checked submission to a job: its files and itself are stored, and a worker is rung for."""

from __future__ import annotations

import logging
from dataclasses import replace

from shared import tracing
from shared.jobs import Job
from shared.store.job_store import Submission
from web.api.services import Services
from web.http import access

log = logging.getLogger(__name__)


def accept(submission: Submission, data: bytes, services: Services, *, mask: bytes | None = None) -> Job:
    """Store picture, mask and job, ring, and return the job. The files come first: a job without them cannot run; where
    it is refused, they go again. Raises QueueFull, also where the disk has no room."""
    store, room = services.store, services.room
    left = room.require()
    with services.blobs.provisional(store.referenced) as stored:
        for file in (data,) if mask is None else (data, mask):
            with room.taken(len(file)):
                stored.put(file)
        job = store.submit_and_get(submission, viewer=access.caller().viewer, ring=services.bell.ring, room=left)
    tracing.follow(replace(tracing.current(), job_id=job.id))
    log.info("job %s accepted: %s, for %s", job.id, submission.image.format, ", ".join(submission.options.models))
    return job
