"""`pathlight gc`: remove the files of pictures and results that no job names any more, now instead of within the hour;
with `--owner` after all that has ended of one API key is forgotten.

A job, a member of a batch, a known answer and an idempotency key all live in one Redis, where each file that a job
names is counted by the scripts that store and forget jobs. What is not counted, and was not stored or asked for during
the grace, is abandoned; why no job can lose its picture to that stands at `shared.blobs.blob_store.BlobStore.sweep`.
"""

from __future__ import annotations

from cli.say import Say
from shared.blobs.blob_store import Swept
from shared.blobs.bucket import blob_store
from shared.errors import PathlightError, UnknownKey
from shared.settings import Settings
from shared.store import retired
from shared.store.connection import Scripts, connect
from shared.store.job_store import JobStore
from shared.store.keys import ID

_AT_ONCE = 1000  # jobs of an owner that one call looks at, or forgets


def forget_owned(owner: str, settings: Settings, *, dry_run: bool, say: Say) -> tuple[int, Swept]:
    """Forget every job and batch that has ended of the API key of this name or id, which may have been revoked, and
    remove their files. Returns how many jobs, members of batches among them, and the files that went. Works where Redis
    is full. Raises UnknownKey and StoreUnavailable."""
    store, scripts = JobStore.connect(settings), Scripts(connect(settings), ("expire_owned",))
    key_id, count, behind = _key_id(owner, store), 0, "-inf"
    while behind:
        found, behind = scripts.call("expire_owned", owner=key_id, behind=behind, most=_AT_ONCE, dry=dry_run)
        count += int(found)
        say(f"looking at jobs: {count} have ended")
    if dry_run:
        return count, Swept()
    blobs, gone, freed = blob_store(settings), 0, Swept()
    for ids, unnamed in store.collected(_AT_ONCE):
        gone += len(ids)
        freed += blobs.remove(unnamed, store.referenced)
        say(f"forgetting jobs: {gone}")
    return count, freed


def _key_id(owner: str, store: JobStore) -> str:
    """A revoked key has no name any more."""
    for key in store.keys.all():
        if owner in (key.name, key.id):
            return key.id
    if ID.fullmatch(owner):
        return owner
    raise UnknownKey(f"there is no key named {owner}; pathlight keys list shows all, of a revoked one give the id")


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
