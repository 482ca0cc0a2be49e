"""Memory that is freed stays with the process, and is not filled with zeros again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

FAULTS = """
    import resource
    import sys

    import torch

    from shared.allocator import keep_freed_memory

    if sys.argv[1] == "kept":
        keep_freed_memory()
    faults = []
    for _ in range(10):
        blocks = [torch.ones(5 * 2**20, dtype=torch.float64) for _ in range(3)]  # 40 MiB each
        del blocks
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    print(faults[-1] - faults[-2])
"""


def faults(how: str) -> int:
    """Page faults of the tenth of ten batches that need 120 MiB each."""
    command = [sys.executable, "-c", textwrap.dedent(FAULTS), how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_the_next_batch_finds_the_memory_of_the_last_one() -> None:
    assert faults("kept") < 100 < faults("as it comes")
