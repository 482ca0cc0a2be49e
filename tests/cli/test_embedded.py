"""The embedded Redis: nobody else's socket, and none of the commands by which a server is taken over."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.settings import Settings
from shared.store.job_store import JobStore

TAKE_OVER = (
    *("CONFIG SET dir /tmp", "MODULE LOAD x", "DEBUG SLEEP 0", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "FLUSHALL"),
    *("FLUSHDB", "SHUTDOWN NOSAVE", "ACL SETUSER x on nopass +@all", "RESTORE k 0 v", "MIGRATE h 1 k 0 1"),
    *("SYNC", "PSYNC ? -1"),
)


def test_a_stranger_on_the_socket_cannot_take_over_the_server(settings: Settings, store: JobStore) -> None:
    client: Any = redis.Redis.from_url(settings.store_url)
    for command in TAKE_OVER:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())
    store.ping()


def test_the_socket_is_the_owners_alone_and_there_is_no_port(settings: Settings, store: JobStore) -> None:
    for place in (settings.redis_socket, settings.redis_socket.parent):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert store.server_info()["tcp_port"] == 0
    assert "nopass" in (Path(settings.home) / "redis" / "redis.conf").read_text("utf-8")
