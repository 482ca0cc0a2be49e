"""Figures: what they say of their target, their intervals, and that they survive being written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from bench import figures
from bench.figures import Figure, estimate


def test_a_figure_survives_being_written_and_read(tmp_path: Path) -> None:
    written = [
        Figure("a", 1.5, "s", 1.0, 2.0, 10, ">= 1 and low > 0.5", {"chance": 0.25}, "It means this."),
        Figure("b", None, reason="the data is not here"),
    ]
    figures.write(written, {"cores": 2}, tmp_path / "figures.json")
    assert figures.read(tmp_path / "figures.json") == written


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (">= 1.5", True),
        (">= 1.6", False),
        ("<= 1.5", True),
        ("<= 1e-5", False),
        ("> 1.5", False),
        ("< -1", False),
        (">= 1 and low > 0.9", True),
        (">= 1 and low > 1", False),
        (">= 1 and high < 2", False),
        (None, None),
    ],
)
def test_a_target_is_met_when_each_of_its_parts_holds(target: str | None, met: bool | None) -> None:
    assert Figure("a", 1.5, low=1.0, high=2.0, target=target).met is met


def test_a_figure_that_was_not_measured_neither_meets_nor_misses_its_target() -> None:
    assert Figure("a", None, target=">= 1", reason="no data").met is None


def test_a_target_about_an_interval_is_missed_where_there_is_none() -> None:
    assert Figure("a", 1.5, target=">= 1 and low > 0.5").met is False


def test_a_figure_needs_a_value_or_a_reason_and_a_readable_target() -> None:
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure("a", None)
    with pytest.raises(ValueError, match="either a value or a reason"):
        Figure("a", 1.0, reason="none")
    with pytest.raises(ValueError, match="is not a target"):
        Figure("a", 1.0, target="about 1")


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(60):
        figure = estimate("a", generator.exponential(2.0, 80), unit="", meaning="", seed=seed)
        assert figure.low is not None and figure.high is not None
        covered += figure.low <= 2.0 <= figure.high
    assert 50 <= covered <= 60


def test_an_interval_is_the_same_for_the_same_seed() -> None:
    samples = np.random.default_rng(1).normal(size=50)
    assert estimate("a", samples, unit="", meaning="", seed=3) == estimate("a", samples, unit="", meaning="", seed=3)


def test_a_ratio_of_means_is_not_a_mean_of_ratios() -> None:
    samples = np.array([[1.0, 1.0], [3.0, 1.0], [2.0, 4.0]])
    assert estimate("a", samples, unit="", meaning="", statistic=figures.ratio_of_means).value == 1.0


def test_the_tables_show_every_figure_and_say_why_one_is_missing() -> None:
    shown = [Figure("a", 0.123456, "s", 0.1, 0.2, 1234, "<= 1", {"chance": 0.25}), Figure("b", None, reason="no data")]
    assert figures.table(shown, title="t").row_count == 2
    page = figures.markdown_table(shown).splitlines()
    assert page[2] == "| a | 0.1235 s | 0.1 to 0.2 | 1,234 | chance 0.25 | <= 1 | yes |"
    assert page[3].startswith("| b | no data |")


def test_the_context_names_machine_versions_and_commit() -> None:
    context = figures.machine(seed=7)
    assert context["cores"] >= 1
    assert context["cpu"]
    assert {"torch", "numpy", "python"} <= context["versions"].keys()
    assert context["seed"] == 7
    assert context["commit"]


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 40), (1, 40), (20, 40), (40, 40), (437, 500)])
def test_the_interval_of_a_share_is_that_of_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert figures.wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_is_in_per_cent() -> None:
    figure = figures.share("a", np.array([True, False, False, False]), meaning="It means this.", target="<= 25")
    assert (figure.value, figure.unit, figure.n, figure.met) == (25, "%", 4, True)
    assert (figure.low, figure.high) == pytest.approx(tuple(100 * end for end in figures.wilson(1, 4)))
