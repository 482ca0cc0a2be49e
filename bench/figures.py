"""Figures: measured numbers with interval, controls and target; as a table, as JSON and as a page. All rigs use them.

The JSON is {"figures": [{"name", "value", "unit", "low", "high", "n", "target", "met", ...}], "context": {...}}.
A figure that could not be measured has the value null and a reason.
"""

from __future__ import annotations

import json
import math
import operator
import platform
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from shared.cores import usable_cores
from shared.settings import REPOSITORY

Statistic = Callable[[NDArray[np.float64]], float]  # samples, one row each, to one number

ROUNDS = 1000  # of a bootstrap
COVERAGE = 0.95
PACKAGES = (
    "captum",
    "efficientnet-lite-pytorch",
    "grad-cam",
    "nbdt",
    "numpy",
    "onnxruntime",
    "openvino",
    "pillow",
    "scikit-learn",
    "torch",
    "torchcam",
    "torchvision",
)
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_CLAUSE = re.compile(r"(?:(low|high) )?(>=|<=|>|<) (-?[0-9.]+(?:e-?[0-9]+)?)")


@dataclass(frozen=True)
class Figure:
    """One measured number. `target` is one or more comparisons joined by "and", of the value or of an end of its
    interval: ">= 1.2 and low > 1"."""

    name: str
    value: float | None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    n: int = 0
    target: str | None = None
    controls: Mapping[str, float] = field(default_factory=dict)  # the same measure where it must be bad, or by others
    meaning: str = ""  # one sentence
    reason: str | None = None  # why there is no value
    shortfall: str = ""  # why a target is missed, by what was measured beside it

    def __post_init__(self) -> None:
        if (self.value is None) != (self.reason is not None):
            raise ValueError(f"{self.name}: a figure has either a value or a reason for having none")
        for clause in _clauses(self.target):
            if not _CLAUSE.fullmatch(clause):
                raise ValueError(f"{self.name}: {clause!r} is not a target")

    @property
    def met(self) -> bool | None:
        """Whether every part of the target holds; None without a target or a value."""
        if self.target is None or self.value is None:
            return None
        return all(self._holds(clause) for clause in _clauses(self.target))

    def _holds(self, clause: str) -> bool:
        match = _CLAUSE.fullmatch(clause)
        assert match is not None
        of, comparison, bound = match.groups()
        value = {None: self.value, "low": self.low, "high": self.high}[of]
        return value is not None and bool(_COMPARE[comparison](value, float(bound)))

    def explained(self, shortfall: str) -> Figure:
        """With its shortfall, where the target is missed."""
        return replace(self, shortfall=shortfall) if self.met is False else self

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "controls": dict(self.controls), "met": self.met}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Figure:
        return cls(**{key: value for key, value in data.items() if key != "met"})


def mean(samples: NDArray[np.float64]) -> float:
    return float(samples.mean())


def median(samples: NDArray[np.float64]) -> float:
    return float(np.median(samples))


def ratio_of_means(samples: NDArray[np.float64]) -> float:
    """Of the first column to the second."""
    return float(samples[:, 0].mean() / samples[:, 1].mean())


def bootstrap(samples: NDArray[np.float64], statistic: Statistic, *, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic, by drawing rows of `samples` again with replacement."""
    generator = np.random.default_rng(seed)
    count = len(samples)
    drawn = [statistic(samples[generator.integers(0, count, count)]) for _ in range(ROUNDS)]
    outside = (1 - COVERAGE) / 2
    low, high = np.nanquantile(drawn, (outside, 1 - outside))
    return float(low), float(high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of Wilson (1927) for a share, 0..1. It stays sensible where all or none are hits."""
    z = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    centre, spread = hits / n + z**2 / (2 * n), z * math.sqrt(hits * (n - hits) / n**3 + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return low if hits else 0.0, high if hits < n else 1.0  # the ends themselves, not what rounding leaves of them


def share(
    name: str,
    hits: Sequence[bool] | NDArray[np.bool_],
    *,
    meaning: str,
    target: str | None = None,
    controls: Mapping[str, float] | None = None,
) -> Figure:
    """How many of n are hits, in per cent, with Wilson's interval; for n above 0."""
    count, n = int(np.count_nonzero(hits)), len(hits)
    low, high = (100 * end for end in wilson(count, n))
    return Figure(name, 100 * count / n, "%", low, high, n, target, controls or {}, meaning)


def estimate(
    name: str,
    samples: Sequence[float] | NDArray[np.float64],
    *,
    unit: str,
    meaning: str,
    statistic: Statistic = mean,
    target: str | None = None,
    controls: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Figure:
    """A figure with its bootstrap interval, from one sample (a number, or a row of them) for each unit drawn."""
    rows = np.asarray(samples, dtype=np.float64)
    low, high = bootstrap(rows, statistic, seed=seed)
    return Figure(name, statistic(rows), unit, low, high, len(rows), target, controls or {}, meaning)


def machine(*, seed: int) -> dict[str, Any]:
    """Where and from what the figures were measured."""
    return {
        "cores": usable_cores(),
        "cpu": _cpu(),
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
        "seed": seed,
    }


def write(figures: Iterable[Figure], context: Mapping[str, Any], path: Path) -> None:
    """Write the JSON."""
    document = {"figures": [figure.to_dict() for figure in figures], "context": context}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read(path: Path) -> list[Figure]:
    """The figures of a JSON file."""
    return [Figure.from_dict(figure) for figure in json.loads(path.read_text("utf-8"))["figures"]]


COLUMNS = ("figure", "value", "95 % interval", "n", "controls", "target", "met")


def table(figures: Iterable[Figure], *, title: str) -> Table:
    """For the terminal."""
    out = Table(*COLUMNS, title=title)
    for figure in figures:
        out.add_row(*_cells(figure), style="red" if figure.met is False else None)
    return out


def markdown_table(figures: Iterable[Figure]) -> str:
    """For a page."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, figures)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def show(value: float | None, unit: str = "") -> str:
    """A number to four digits with its unit."""
    if value is None:
        return ""
    digits = f"{value:.4g}"
    return f"{f'{float(digits):,.0f}' if abs(value) >= 1000 else digits} {unit}".strip()


def _cells(figure: Figure) -> tuple[str, ...]:
    interval = "" if figure.low is None else f"{show(figure.low)} to {show(figure.high)}"
    return (
        figure.name,
        figure.reason or show(figure.value, figure.unit),
        interval,
        f"{figure.n:,}" if figure.n else "",
        "; ".join(f"{name} {show(value)}" for name, value in figure.controls.items()),
        figure.target or "",
        {True: "yes", False: "no", None: ""}[figure.met],
    )


def _clauses(target: str | None) -> list[str]:
    return target.split(" and ") if target else []


def _versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _commit() -> str:
    """The revision that is measured, with a mark where the files differ from it."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
