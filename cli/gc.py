"""`pathlight gc`: remove the files of pictures and results that no job names any more, now instead of within the hour.

A job, a member of a batch, a known answer and an idempotency key all live in one Redis, where each file that a job
names is counted by the scripts that store and forget jobs. What is not counted, and was not stored or asked for during
the grace, is abandoned; why no job can lose its picture to that stands at `shared.blobs.BlobStore.sweep`.
"""

from __future__ import annotations

from shared import retired
from shared.blobs import Swept
from shared.bucket import blob_store
from shared.errors import PathlightError
from shared.settings import Settings
from shared.store import JobStore


def collect_garbage(settings: Settings, *, dry_run: bool) -> Swept:
    """What was removed, or would be. Raises StoreUnavailable where Redis does not answer, AlreadyRunning beside another
    sweep, and PathlightError where the job store never had a job: it is not the one that these files belong to."""
    store, blobs = JobStore.connect(settings), blob_store(settings)
    grace = settings.blob_grace_seconds
    if store.counts().get("accepted", 0) == 0 and blobs.sweep(store.referenced, older_than=grace, dry_run=True).files:
        raise PathlightError(
            f"the job store never had a job, so that the files in {settings.blobs} belong to another; check REDIS_URL "
            "and PATHLIGHT_HOME, or delete that folder yourself"
        )
    models = retired.sweep(settings, store.versions_named, older_than=grace, dry_run=dry_run)
    return models + blobs.sweep(store.referenced, older_than=grace, dry_run=dry_run)
