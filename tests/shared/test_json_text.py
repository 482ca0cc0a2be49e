"""JSON of large documents: what the standard library reads of it is what was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import json_text

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
INFINITE = (float("inf"), float("-inf"))


def holds_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(holds_infinity, value)) if isinstance(value, list) else value in INFINITE


@given(VALUES.filter(lambda value: not holds_infinity(value)))
def test_what_is_written_is_read_by_both_as_it_was(value: Any) -> None:
    written = json_text.encode(value)
    assert b"\n" not in written
    assert json.loads(written) == json_text.decode(written) == value


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({1: "a"}, {"1": "a"}),
        (["half of a pair: \ud83d"], ["half of a pair: \ud83d"]),
        ([2**70], [2**70]),
        ((1, 2), [1, 2]),
    ],
)
def test_what_the_quick_way_has_no_words_for_is_written_too(value: Any, read: Any) -> None:
    assert json.loads(json_text.encode(value)) == read


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError):
        json_text.decode(b"{")
    with pytest.raises(TypeError):
        json_text.encode(object())
