"""What a job takes until it is forgotten. Callers share Redis's memory and the disk by it: see `over_share` in
shared/store/scripts/prelude.lua."""

from __future__ import annotations

from collections.abc import Iterable

from shared.errors import TooManyRequests

JOB_BYTES = 3500  # of Redis's memory for a job that has ended, but for its texts
_TEXT_FACTOR = 1.25  # Redis's allocator rounds up by at most a quarter


def memory_of(texts: Iterable[str], *, idempotency: str = "") -> int:
    """Bytes of Redis's memory that a job with these texts takes at most, its result's reference and its places in all
    lists among them. An idempotency key, one of the texts, is in the name of a key of its own as well."""
    length = sum(len(text.encode()) for text in (*texts, idempotency))
    return JOB_BYTES + round(_TEXT_FACTOR * length)


def over_share(outcome: str) -> TooManyRequests | None:
    """The error for a script's answer that a caller has its share."""
    shared = {"memory share": "the memory for jobs", "disk share": "the disk"}.get(outcome)
    if shared is None:
        return None
    return TooManyRequests(f"your jobs take your share of {shared}; delete jobs or batches that have ended, or wait")
