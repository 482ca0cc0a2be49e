"""The meter counts what the system counts: also of processes that have ended, and at most, not at the end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.cost.meter import Peak, Tree, Watch, watching

BURN = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass"
FILL = "import time\nheld = b'x' * 200_000_000\ntime.sleep(0.5)\ndel held\ntime.sleep(0.5)"


STARTER = "import subprocess, sys\ninput()\nsubprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def peak_of(code: str, *, shallow: int) -> Peak:
    """Of a process with one child, which runs the code."""
    command = [sys.executable, "-c", STARTER, code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as starter:
        watch = Watch(Tree(starter.pid), shallow=shallow)
        with watching([watch]):
            starter.communicate("\n")
    assert starter.returncode == 0
    return watch.peak


def test_processor_time_of_a_child_that_has_ended_counts() -> None:
    tree = Tree(os.getpid())
    before = tree.seconds()
    run(BURN)
    assert 0.5 <= tree.seconds() - before < 1.5


@pytest.mark.parametrize(
    ("shallow", "expected"),
    [pytest.param(1, "deepest_had", id="for itself"), pytest.param(2, "shallow", id="together with its parent")],
)
def test_the_most_memory_of_a_child_counts_though_it_has_given_it_back(shallow: int, expected: str) -> None:
    peak = peak_of(FILL, shallow=shallow)
    found = {name: getattr(peak, name) for name in ("shallow", "deepest_had")}
    assert 200e6 <= found.pop(expected) < 300e6
    assert all(value < 100e6 for value in found.values())


COPY = """
import os, sys, time
held = b'x' * 200_000_000
child = os.fork()
if not child:
    time.sleep(0.4)
    os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(0.4)'])
os.waitpid(child, 0)
"""


def test_a_copy_of_a_process_does_not_count_before_it_runs_its_own_program() -> None:
    peak = peak_of(COPY, shallow=2)
    assert 200e6 <= peak.shallow < 300e6
    assert 0 < peak.deepest_had < 100e6
