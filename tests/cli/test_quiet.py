"""A start says one line to those who run the service, and whatever goes wrong."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.conftest import wait_for
from tests.flow.conftest import running


@pytest.mark.slow
def test_a_first_start_says_where_the_page_is_and_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path / "home", tmp_path / "log", PATHLIGHT_CONCURRENCY="1"):
        wait_for(lambda: "ready" in (tmp_path / "log").read_text(), seconds=30)
        time.sleep(3)  # in which the processes behind it start, and used to tell of themselves
        said = (tmp_path / "log").read_text()
    assert re.fullmatch(r"Pathlight is ready: http://127\.0\.0\.1:\d+  \(Ctrl-C ends it\)\n", said)
    assert (tmp_path / "home" / "redis" / "redis.log").stat().st_size > 0
