"""What becomes of memory that a batch no longer needs: the process keeps it for the next batch.

glibc gives large blocks back to the system, which hands them out again page by page, each filled with zeros: at every
batch anew, for up to a tenth of the time of a forward pass. Networks need the same blocks at every batch.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory(most: int = 2**30) -> None:
    """From now on, in this process, so many bytes at most. Nothing changes where the C library knows no such option."""
    options = getattr(ctypes.CDLL(None), "mallopt", None)
    if options is None:
        return
    for threshold in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        options(threshold, most)
