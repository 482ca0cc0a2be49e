"""The charts of a report, for a paper: the same as on the page, drawn by matplotlib as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared.cards.class_names import short_name
from shared.report.page import Report, summary_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEANS_SHOWN = 30


def write_charts(report: Report, folder: Path) -> list[Path]:
    """Draw MODEL.CHART.svg and .png for each chart that the rows allow. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for model in report.models:
        for name, figure in _charts(report, model):
            for kind in ("svg", "png"):
                path = folder / f"{model}.{name}.{kind}"
                figure.savefig(path, dpi=200, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None)
                written.append(path)
    return written


def _charts(report: Report, model: str) -> Iterator[tuple[str, Figure]]:
    summary = summary_of(report, model)
    if summary["decisions"]:
        yield "decisions", _histogram(summary["decisions"], "probability of the branch taken", "decisions")
    if summary["outside"]:
        yield "outside", _histogram(summary["outside"]["counts"], "share of evidence outside the box", "pictures")
    if any(one["leaves"] for one in summary["confusion"]):
        yield "departures", _departures(summary["confusion"])
    names = sorted((name for name in report.maps.sums if name[0] == model), key=lambda n: -report.maps.counts[n])
    if names:
        yield "means", _means(report, names[:_MEANS_SHOWN])


def _histogram(counts: list[int], what: str, of: str) -> Figure:
    figure = _figure(4.5, 3)
    axes = figure.subplots()
    axes.bar((np.arange(len(counts)) + 0.5) / len(counts), counts, width=0.9 / len(counts))
    axes.set_xlabel(what)
    axes.set_ylabel(of)
    return figure


def _departures(confusion: list[dict[str, object]]) -> Figure:
    """How many pictures of each class leave at each decision."""
    pairs = {(str(one["label"]), f"{at} → {short_name(to)}"): n for one in confusion for at, to, n in one["leaves"]}  # type: ignore[attr-defined]
    rows = sorted({label for label, _ in pairs})
    columns = sorted({leaf for _, leaf in pairs}, key=lambda c: -sum(n for (_, d), n in pairs.items() if d == c))[:15]
    table = np.array([[pairs.get((row, column), 0) for column in columns] for row in rows])
    figure = _figure(2 + 0.45 * len(columns), 1.5 + 0.25 * len(rows))
    axes = figure.subplots()
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    figure.colorbar(image, label="pictures")
    return figure


def _means(report: Report, names: list[tuple[str, str]]) -> Figure:
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(1.4 * columns, 1.6 * rows)
    for axes, place in zip(np.ravel(figure.subplots(rows, columns, squeeze=False)), range(rows * columns), strict=True):
        axes.axis("off")
        if place < len(names):
            axes.imshow(np.clip(report.maps.mean(names[place]), 0, None), cmap="inferno")
            axes.set_title(f"{short_name(names[place][1])} ({report.maps.counts[names[place]]})", fontsize=7)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
