"""Logging of the web server and the workers: one line an event, on standard error."""

from __future__ import annotations

import logging
import re

from shared.keys import TOKEN
from shared.settings import WEBHOOK_PREFIX

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Celery says of every doorbell and every tick of the keeper that it came and went; the jobs are what matters.
QUIET = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx")
# The secret of an API key, the password of an address, what signs webhooks; in whatever a library writes about them.
_SECRETS = (
    (re.compile(TOKEN.pattern), r"pl_\1_***"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]*@"), r"\1:***@"),
    (re.compile(WEBHOOK_PREFIX + r"[A-Za-z0-9+/=]+"), f"{WEBHOOK_PREFIX}***"),
)


class Discreet(logging.Formatter):
    """Leaves secrets out of every line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def configure() -> None:
    """Log from INFO up, without secrets, and keep the chatter of libraries down."""
    handler = logging.StreamHandler()
    handler.setFormatter(Discreet(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
