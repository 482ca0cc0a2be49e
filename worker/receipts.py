"""Receipts of Celery messages on Redis: kombu's, mended where one lost reply would stop a worker for good."""

from __future__ import annotations

from kombu.transport import virtual
from kombu.transport.redis import Channel, QoS


class Receipts(QoS):
    """Counts a message as done even where Redis could not be told so.

    kombu keeps counting it as in work; with one message a worker at a time, that worker then takes no other until its
    next connection, which may never be needed. The entry that is left in Redis becomes a second ring after the
    visibility timeout, and a ring too many costs one empty claim.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            self._remove_from_indices(delivery_tag).execute()  # type: ignore[no-untyped-call]
        finally:
            virtual.QoS.ack(self, delivery_tag)


def keep_receipts() -> None:
    """Use these receipts for every connection of this process."""
    Channel.QoS = Receipts
