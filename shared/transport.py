"""Celery's messages on Redis: kombu's transport, mended where one lost reply, or a full server, would stop a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kombu.transport import redis as transport
from kombu.transport import virtual
from kombu.utils.json import dumps
from redis.exceptions import ExecAbortError, OutOfMemoryError, ResponseError

from shared.store.connection import is_full

# A full Redis refuses a script at its first write, unless that write cannot grow.
_PUSH = "redis.call('DEL', KEYS[1] .. ':full') return redis.call('LPUSH', KEYS[1], ARGV[1])"


@contextmanager
def _lost_where_full() -> Iterator[None]:
    """What a full Redis refuses is left undone."""
    try:
        yield
    except ResponseError as error:
        if not (is_full(error) or isinstance(error, ExecAbortError)):
            raise


class Client(transport.PrefixedStrictRedis):
    """Sends several commands without MULTI: within it a full Redis takes none at all, not even those that make room.
    Of kombu's none need it but those that say so themselves."""

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        return super().pipeline(False, shard_hint)  # type: ignore[no-untyped-call]


class Receipts(transport.QoS):
    """Counts a message as taken, and as done, even where Redis could not be told so.

    Where an acknowledgement got no reply, kombu keeps counting the message as in work; with one message a worker at a
    time, that worker then takes no other until its next connection, which may never be needed. The entry that is left
    in Redis becomes a second ring after the visibility timeout, and a ring too many costs one empty claim. A ring that
    a full Redis has not noted is lost with its worker, and the keeper rings again.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        except OutOfMemoryError:
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        try:
            self._remove_from_indices(delivery_tag).execute()  # type: ignore[no-untyped-call]
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def restore_visible(self, *arguments: Any, **options: Any) -> None:
        with _lost_where_full():
            super().restore_visible(*arguments, **options)  # type: ignore[no-untyped-call]

    def restore_unacked(self, *arguments: Any) -> None:
        with _lost_where_full():
            super().restore_unacked(*arguments)  # type: ignore[no-untyped-call]


class Channel(transport.Channel):
    """Rings also where Redis is full: what was accepted still runs, ends and makes room."""

    QoS = Receipts

    def _get_client(self) -> Any:
        return partial(Client, global_keyprefix=self.global_keyprefix)

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        try:
            super()._put(queue, message, **options)  # type: ignore[no-untyped-call]
        except OutOfMemoryError:
            priority = self._get_message_priority(message, reverse=False)  # type: ignore[no-untyped-call]
            key = self._q_for_pri(queue, priority)  # type: ignore[no-untyped-call]
            with self.conn_or_acquire() as client:
                client.register_script(_PUSH)(keys=[key], args=[dumps(message)])

    def _queue_bind(self, *arguments: Any) -> None:
        with _lost_where_full():  # it was bound when the server began, but for a worker's own, for remote control
            super()._queue_bind(*arguments)  # type: ignore[no-untyped-call]


def mend() -> None:
    """Use this channel for every connection of this process."""
    transport.Transport.Channel = Channel
