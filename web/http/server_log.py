"""The web server's own lines, in the form of all others."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from shared import logs
from shared.settings import Settings


class ServerLog(Logger):  # type: ignore[misc]
    """Of the process that watches over the web processes, and of what they cannot answer."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(logs.formatter(Settings.load()))
