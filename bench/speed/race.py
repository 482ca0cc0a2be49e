"""Races: what is compared runs in turns within one process, so that a noisy machine is noisy for all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.figures import Figure, Statistic, estimate, median
from bench.quality.context import progress

Runner = Callable[[], object]


@dataclass(frozen=True)
class Race:
    """Seconds of each runner by name, one for each round. All runners did `images` images a round."""

    seconds: Mapping[str, NDArray[np.float64]]
    images: int

    def ms(self, name: str) -> float:
        """Milliseconds an image of one runner, by its median round."""
        return float(1000 * np.median(self.seconds[name]) / self.images)

    def rate(self, name: str, *, figure: str, meaning: str) -> Figure:
        """Images a second of one runner, by its median round."""
        return estimate(figure, self.images / self.seconds[name], unit="images/s", statistic=median, meaning=meaning)

    def speed(self, name: str, *, beside: str, figure: str, meaning: str, target: str | None = None) -> Figure:
        """How many times as fast one runner is as another, by the median of the rounds."""
        ratios = self.seconds[beside] / self.seconds[name]
        rates = {runner: float(self.images / np.median(taken)) for runner, taken in self.seconds.items()}
        return estimate(
            figure,
            ratios,
            unit="x",
            statistic=median,
            target=target,
            controls={f"{runner}, images/s": rates[runner] for runner in (name, beside)},
            meaning=meaning,
        )


def race(runners: Mapping[str, Runner], *, rounds: int, images: int, title: str) -> Race:
    """Run all in turns for some rounds, after one round that does not count. Each round begins with another runner."""
    names = list(runners)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for runner in runners.values():
        runner()
    for turn in progress(range(rounds), title):
        for name in in_turns(names, turn):
            taken[name].append(seconds(runners[name]))
    return Race({name: np.array(rounds_of) for name, rounds_of in taken.items()}, images)


def in_turns(names: Sequence[str], turn: int) -> list[str]:
    """All of them, beginning with another one each turn."""
    first = turn % len(names)
    return [*names[first:], *names[:first]]


def seconds(work: Runner) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(share: float) -> Statistic:
    """The statistic that finds the value below which `share` per cent of the samples lie."""
    return lambda samples: float(np.percentile(samples, share))
