"""What gunicorn itself says stands in the log like everything else."""

from __future__ import annotations

import json

import pytest
from gunicorn.config import Config

from cli.run import web_command
from shared.settings import Settings
from web.http.server_log import ServerLog


def test_gunicorns_own_lines_are_structured_and_tell_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATHLIGHT_LOG_FORMAT", "json")
    settings = Config()
    settings.set("errorlog", "-")
    ServerLog(settings).error("cannot reach redis://:%s@host", "t0ps3cret")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert (told["level"], told["logger"]) == ("error", "gunicorn.error")
    assert told["message"] == "cannot reach redis://:***@host"


def test_the_web_server_is_started_with_it() -> None:
    command = web_command(Settings())
    assert command[command.index("--logger-class") + 1] == f"{ServerLog.__module__}.{ServerLog.__name__}"
