"""The full form: every row of the matrix many times, and the figures of what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from bench import figures
from bench.figures import Figure
from shared.images.sandbox.decoders import MEMORY_BYTES
from shared.settings import REPOSITORY
from tests.faults.bad_input.bombs import BOMBS
from tests.faults.bad_input.mutations import mutants
from tests.faults.bad_input.pool import DOCUMENTED, SECONDS, verdicts
from tests.faults.bad_input.seeds import seeds
from tests.faults.checker import Violation, accepted, lost_to_faults, recovery_seconds
from tests.faults.history import Event, Struck, of_kind
from tests.faults.rig import LEASE_SECONDS, Rig
from tests.faults.rows import Row

BAD_PICTURES, QUICK_PICTURES = 10_000, 500
OUT = REPOSITORY / "tests" / "faults" / "out"


@dataclass
class Outcome:
    """What a run has shown so far. Violations are those of each rig's whole history."""

    strikes: dict[str, int] = field(default_factory=dict)  # by row and title
    jobs: int = 0
    to_faults: int = 0
    recoveries: list[float] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)  # what a row itself expected and did not see


def run(rows: Sequence[Row], *, seed: int, quick: bool, console: Console) -> Outcome:
    """Run the rows, those of the same settings on one service."""
    outcome = Outcome()
    shutil.rmtree(OUT / "history", ignore_errors=True)
    for number, (_, group) in enumerate(groupby(rows, key=lambda row: row.group)):
        folder = OUT / "history" / str(number)
        folder.mkdir(parents=True)
        members = list(group)
        with Rig(folder, seed=seed, changes=members[0].settings, lossy=members[0].lossy) as rig:
            found = _run_rows(rig, members, outcome, quick=quick, console=console)
            events = rig.events()
        _add(outcome, rig, events, found)
        if not found:
            shutil.rmtree(folder / "home", ignore_errors=True)
    return outcome


def _run_rows(rig: Rig, rows: Sequence[Row], outcome: Outcome, *, quick: bool, console: Console) -> list[Violation]:
    found: list[Violation] = []
    for row in rows:
        began, before = time.monotonic(), len(of_kind(rig.events(), Struck))
        try:
            row.run(rig, row.short if quick else row.full)
        except AssertionError as error:
            outcome.failures.append(f"row {row.number}: {error}")
        found = rig.settle()
        strikes = len(of_kind(rig.events(), Struck)) - before
        outcome.strikes[f"{row.number} {row.title}"] = strikes
        words = f"{strikes} faults, {time.monotonic() - began:.0f} s"
        console.print(f"{row.number:>3} {row.title}: {words}, {len(found)} violations so far on this service")
    return found


def _add(outcome: Outcome, rig: Rig, events: Sequence[Event], found: Sequence[Violation]) -> None:
    outcome.jobs += len(accepted(events))
    outcome.to_faults += len(lost_to_faults(events, rig.rules))
    outcome.recoveries += recovery_seconds(events)
    outcome.violations += found


def figures_of(outcome: Outcome, *, seed: int, quick: bool) -> list[Figure]:
    """The figures of a run. A quick run has no target for their number."""
    faults, jobs = sum(outcome.strikes.values()), outcome.jobs
    found = {
        "lost": ("jobs lost", "accepted, and without an end at the last look"),
        "doubled": ("jobs doubled", "two jobs for one request, or ended by a claim that was not the newest"),
        "changed": ("jobs changed", "an end that was another when it was read again"),
        "repeated": ("jobs run too often", "more attempts than allowed, or than faults explain"),
        "wrong": ("wrong answers", "not what a run without faults answers"),
        "unanswered": ("server errors", "5xx other than the documented 503, or no answer"),
        "left over": ("things left over", "in queues, leases, message book-keeping or temporary files"),
        "unproven": ("faults without proof", "injected, but perhaps without effect"),
    }
    counted = [
        Figure(name, sum(one.what == what for one in outcome.violations), n=jobs, target="<= 0", meaning=meaning)
        for what, (name, meaning) in found.items()
    ]
    return [
        Figure("faults injected", faults, target=None if quick else ">= 150", meaning="each with a proof"),
        Figure("jobs accepted", jobs, target=None if quick else ">= 10000", meaning="answered with 202"),
        *counted,
        Figure("rows failed", len(outcome.failures), n=len(outcome.strikes), target="<= 0", meaning="see the log"),
        Figure("jobs failed by faults", outcome.to_faults, n=jobs, meaning="met by a fault on each of three attempts"),
        *_recovery(outcome.recoveries, seed=seed),
    ]


def _recovery(seconds: Sequence[float], *, seed: int) -> list[Figure]:
    meaning = f"from a kill until another worker had the job, or it had ended; the lease is {LEASE_SECONDS:.0f} s"
    if not seconds:
        reason = "no job was running when a process was killed"
        return [Figure(f"recovery {name}", None, "s", reason=reason) for name in ("p50", "p95")]
    return [
        figures.estimate("recovery p50", seconds, unit="s", meaning=meaning, statistic=figures.median, seed=seed),
        figures.estimate(
            "recovery p95",
            seconds,
            unit="s",
            meaning=meaning,
            statistic=_p95,
            target=f"< {2 * LEASE_SECONDS:g}",
            seed=seed,
        ),
    ]


def _p95(samples: NDArray[np.float64]) -> float:
    return float(np.quantile(samples, 0.95))


def bad_input_figures(*, seed: int, quick: bool) -> list[Figure]:
    """Damaged pictures and costly files through the decoder."""
    count = QUICK_PICTURES if quick else BAD_PICTURES
    files = [*mutants(seeds(), count=count, seed=seed), *((name, build()) for name, build in BOMBS.items())]
    found = verdicts(files)
    undocumented = sum(not {one.header, one.pixels} <= DOCUMENTED for one in found if not one.died)
    slowest = max(max(one.header_seconds, one.pixels_seconds) for one in found)
    most = max(one.bytes for one in found) / 1e6
    many = None if quick else f">= {BAD_PICTURES}"
    return [
        Figure("bad pictures", len(found), target=many, meaning="mutants of real photographs, and costly files"),
        Figure("undocumented answers", undocumented, n=len(found), target="<= 0", meaning="of header check or decoder"),
        Figure("decoders that died", sum(bool(one.died) for one in found), n=len(found), target="<= 0"),
        Figure("slowest picture", slowest, "s", n=len(found), target=f"< {SECONDS:g}", meaning="in processor time"),
        Figure(
            "most memory",
            most,
            "MB",
            n=len(found),
            target=f"<= {MEMORY_BYTES / 1e6:g}",
            meaning="beyond that of an idle process",
        ),
    ]
