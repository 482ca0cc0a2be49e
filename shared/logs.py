"""Logging of the web server and the workers: one line an event, on standard error."""

from __future__ import annotations

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Celery says of every doorbell and every tick of the keeper that it came and went; the jobs are what matters.
QUIET = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "httpx")


def configure() -> None:
    """Log from INFO up, and keep the chatter of libraries down."""
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
