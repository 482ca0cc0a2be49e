"""Logs tell what happened and no secret."""

from __future__ import annotations

import logging
import sys

import pytest

from shared.keys import TOKEN
from shared.logs import FORMAT, Discreet

SECRET = "x" * 43
KEY = f"pl_0123456789ab_{SECRET}"


def written(message: str, *values: object, error: BaseException | None = None) -> str:
    trouble = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("a", logging.INFO, "f", 1, message, values, trouble)
    return Discreet(FORMAT).format(record)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"X-API-Key: {KEY}", "pl_0123456789ab_***"),
        (f"[{KEY},{KEY}]", "[pl_0123456789ab_***,pl_0123456789ab_***]"),
        (f"redis://:{SECRET}@host:6379/0", "redis://:***@host:6379/0"),
        (f"cannot reach 'rediss://me:{SECRET}@host?x=1'", "rediss://me:***@host?x=1"),
        (f"PATHLIGHT_WEBHOOK_SECRET='whsec_{SECRET}='", "PATHLIGHT_WEBHOOK_SECRET='whsec_***'"),
        (f"redis+socket://me:{SECRET}@/run/redis.sock", "redis+socket://me:***@/run/redis.sock"),
    ],
)
def test_a_secret_is_left_out_wherever_it_stands(text: str, kept: str) -> None:
    assert TOKEN.fullmatch(KEY)
    try:
        raise ValueError(text)
    except ValueError as error:
        lines = (written(text), written("it said %s", text), written("failed", error=error))
    for line in lines:
        assert SECRET not in line and kept in line


def test_what_is_no_secret_is_kept() -> None:
    for text in ("http://127.0.0.1:8000/jobs/a@b", "unix:///home/a:b@c.sock", "job pl_1 accepted", "a:b@c"):
        assert text in written(text)
    assert "Traceback" not in written("fine") and sys.exc_info() == (None, None, None)
