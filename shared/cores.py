"""The processor cores that this process may really use."""

from __future__ import annotations

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Those it may run on, less what a container's quota takes away."""
    allowed = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text("ascii").split()
        return allowed if share == "max" else max(1, min(allowed, int(share) // int(period)))
    except (OSError, ValueError):
        return allowed
