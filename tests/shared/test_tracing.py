"""A line of the log names what it belongs to."""

from __future__ import annotations

import pytest

from shared.tracing import Trace, current, request_id, tracing


@pytest.mark.parametrize("proposed", ["a", "0f" * 32, "3d6f0a1e-9f1b-4c56-8d2e-0a1b2c3d4e5f", "trace_1.2"])
def test_a_clients_id_is_kept(proposed: str) -> None:
    assert request_id(proposed) == proposed


@pytest.mark.parametrize("proposed", [None, "", "a" * 65, "a b", "a\nb", "a\n", "<b>", "a,b", 'a"', "é", "{x}"])
def test_an_id_that_a_log_cannot_bear_is_replaced(proposed: str | None) -> None:
    first, second = request_id(proposed), request_id(proposed)
    assert first != second and proposed not in (first, second) and request_id(first) == first


def test_what_is_done_inside_belongs_to_the_inner_trace_alone() -> None:
    with tracing(Trace("r")):
        with tracing(Trace("r", "j")):
            assert current().named() == {"request_id": "r", "job_id": "j"}
        assert current().named() == {"request_id": "r"}
    assert current().named() == {}
