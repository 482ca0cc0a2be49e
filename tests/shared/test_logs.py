"""Logs tell what happened and no secret."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from shared.logs import FORMAT, RedactingFormatter, Structured
from shared.settings import REPOSITORY
from shared.store.keys import TOKEN
from shared.tracing import Trace, tracing

SECRET = "x" * 43
KEY = f"pl_0123456789ab_{SECRET}"


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    trouble = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("a", logging.INFO, "f", 1, message, values, trouble)


def written(message: str, *values: object, error: BaseException | None = None) -> str:
    """The line for people, and behind it the one for programs."""
    lines = [form.format(record(message, *values, error=error)) for form in (RedactingFormatter(FORMAT), Structured())]
    return "\n".join(lines)


def structured(message: str, *values: object, error: BaseException | None = None) -> dict[str, object]:
    (line,) = Structured().format(record(message, *values, error=error)).splitlines()
    found: dict[str, object] = json.loads(line)
    return found


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
        assert SECRET not in line and line.count(kept) >= 2


def test_what_is_no_secret_is_kept() -> None:
    for text in ("http://127.0.0.1:8000/jobs/a@b", "unix:///home/a:b@c.sock", "job pl_1 accepted", "a:b@c"):
        assert text in written(text)
    assert "Traceback" not in written("fine") and sys.exc_info() == (None, None, None)


def test_a_structured_line_says_when_who_what_and_to_what_it_belongs() -> None:
    with tracing(Trace("r-1", "j-1")):
        line = structured("job %s\nfailed", "j-1")
    assert str(line.pop("time")).endswith("Z") and line.pop("process")
    assert line == {
        "level": "info",
        "logger": "a",
        "message": "job j-1\nfailed",
        "request_id": "r-1",
        "job_id": "j-1",
    }
    assert "request_id" not in structured("nothing in particular")


def test_a_structured_line_holds_the_whole_traceback() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        told = structured("failed", error=error)["exception"]
    assert isinstance(told, str) and told.startswith("Traceback") and told.endswith("two\nlines")


def test_a_line_for_people_names_its_request_and_is_one_line() -> None:
    with tracing(Trace("r-1", "j-1")):
        line = RedactingFormatter(FORMAT).format(record("GET /x\r\nforged\x1b[2J\u2028%s", "\n"))
    assert line.endswith(r"GET /x\r\nforged\x1b[2J\u2028\n (request r-1)")


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_whole_process_logs_in_the_form_that_is_set(form: str) -> None:
    code = (
        "import logging, warnings; from shared import logs; from shared.settings import Settings\n"
        "logs.configure(Settings.load()); logging.getLogger('x').info('hello'); warnings.warn('beware')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"PATHLIGHT_LOG_FORMAT": form},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = run.stderr.splitlines()
    if form == "json":
        assert json.loads(first)["message"] == "hello" and "beware" in json.loads(second)["message"]
    else:
        assert first.endswith("INFO x: hello") and "beware" in second
