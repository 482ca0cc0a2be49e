"""What is said of a decision path as the contract shows it, wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WEAK_BELOW = 0.6  # of a decision's probability, where the model's card states no measured threshold

Json = Mapping[str, Any]


def is_weak(path: Json, number: int) -> bool:
    """Whether a step, counted from 0, is the weakest of the path, and weak: a weakest step of 99 % is none to doubt."""
    return bool(number == path["weakest"] and path["steps"][number]["probability"] < weak_below(path))


def weak_below(path: Json) -> float:
    """The probability below which a decision of this path is weak. A result of an earlier version does not say."""
    return float(path.get("weak_below", WEAK_BELOW))


def likelier_branch(step: Json) -> Json | None:
    """The likeliest branch that was not taken, where it is likelier than the one that was. A path leads to the
    likeliest class, which may lie below a branch whose classes together are less likely."""
    found: Json | None = max(step["siblings"], key=lambda sibling: sibling["probability"], default=None)
    return found if found is not None and found["probability"] > step["probability"] else None
