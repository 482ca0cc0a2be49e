"""Logging of the web server and the workers on standard error: one line an event, for people or as JSON. A line names
the request and the job that it belongs to, and no secret."""

from __future__ import annotations

import logging
import re
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from shared.jobs import rfc3339
from shared.settings import WEBHOOK_PREFIX, Settings
from shared.store.keys import TOKEN
from shared.tracing import current

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Celery says of every doorbell and every tick of the keeper that it came and went, and of itself that it is there; the
# jobs are what matters.
QUIET = (
    *("celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx"),
    *("celery.worker.consumer.connection", "celery.apps.worker"),
)
# The secret of an API key, the password of an address, what signs webhooks; in whatever a library writes about them.
_SECRETS = (
    (re.compile(TOKEN.pattern), r"pl_\1_***"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]*@"), r"\1:***@"),
    (re.compile(WEBHOOK_PREFIX + r"[A-Za-z0-9+/=]+"), f"{WEBHOOK_PREFIX}***"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class RedactingFormatter(logging.Formatter):
    """For people. Leaves secrets out of every line, tracebacks included; no message can pass for two lines."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _CONTROL.sub(lambda match: repr(match[0])[1:-1], record.message)
        request = current().request_id
        return super().formatMessage(record) + (f" (request {request})" if request else "")


class Structured(JsonFormatter):
    """For programs: time, level, logger, process, message; exception, request_id and job_id where there are any."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = rfc3339(round(record.created * 1000))
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["process"] = record.process
        log_data["message"] = without_secrets(record.message)
        log_data.update(current().named())
        if trouble := message_dict.get("exc_info"):
            log_data["exception"] = without_secrets(str(trouble))


def without_secrets(text: str) -> str:
    """The text with `***` in the place of secrets: of API keys, of passwords in addresses, of webhooks."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def formatter(settings: Settings) -> logging.Formatter:
    """What formats the lines of a log: as JSON, or for people."""
    return Structured() if settings.log_format == "json" else RedactingFormatter(FORMAT)


def configure(settings: Settings) -> None:
    """Log from INFO up, without secrets, and keep the chatter of libraries down. Python's own warnings are logged."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
