"""Numbers in words."""

from __future__ import annotations

import pytest

from shared.drawing import phrases


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0%"), (0.0004, "<0.1%"), (0.812, "81.2%"), (0.9994, "99.9%"), (0.99999, ">99.9%"), (1, "100.0%")],
)
def test_percentages_claim_certainty_only_where_it_is_exact(value: float, text: str) -> None:
    assert phrases.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7.1, "7.10"),
        (12.41, "12.4"),
        (-0.0213, "−0.0213"),
        (1234.5, "1234"),
        (-2e-9, "−2.00e-09"),
        (3.4e38, "3.40e+38"),
        (0, "0"),
        (-0.0, "0"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert phrases.number(value) == text
