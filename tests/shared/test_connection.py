"""A Redis that is guarded: credentials and TLS by its address alone, for the store and for Celery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from shared.broker import DRAIN_QUEUE, Bell, make_celery
from shared.errors import StoreUnavailable
from shared.jobs import JobStatus
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from tests.guarded_redis import PASSWORD, GuardedRedis, guarded_redis
from tests.shared.submissions import RESULT, submission


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    with guarded_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def rung(settings: Settings) -> bool:
    """Whether a message that the bell sent can be taken from the queue."""
    app = make_celery(settings)
    Bell(app).ring()
    with app.connection_for_read() as connection, connection.SimpleQueue(DRAIN_QUEUE) as queue:
        message = queue.get(timeout=5)
        message.ack()
        return bool(message.headers["task"])


@pytest.mark.parametrize("address", ["url", "tls_url"])
def test_the_documented_user_can_do_all_that_pathlight_does(
    address: str, guarded: GuardedRedis, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, redis_url=getattr(guarded, address))
    store = JobStore.connect(settings)
    job_id = store.submit(submission())
    (claim,) = store.claim(1, claim_id=job_id)
    assert store.succeed(claim, RESULT, compute_ms=1.0)
    assert store.get(job_id).status is JobStatus.SUCCEEDED
    key, token = store.keys.create(f"key-{address}", [Scope.READ])
    assert store.keys.find(token) == key and store.keys.of_session(store.keys.open_session(key)) == key
    store.heartbeat("worker@here")
    assert store.workers_heard() == 1 and store.server_info()["redis_version"]
    store.add({"http:x": 1}, operation="a")
    assert store.overview().workers == 1 and not store.overview().append_only  # this server keeps no file
    assert rung(settings)


def test_the_documented_user_can_do_no_more(guarded: GuardedRedis) -> None:
    client: Any = redis.Redis.from_url(guarded.url)
    for command in (
        *(
            "CONFIG GET *",
            "CONFIG SET dir /",
            "MODULE LIST",
            "DEBUG SLEEP 0",
            "REPLICAOF NO ONE",
            "FLUSHALL",
            "FLUSHDB",
        ),
        *("SHUTDOWN NOSAVE", "ACL LIST", "ACL SETUSER x", "KEYS *", "MONITOR", "SAVE", "SLAVEOF NO ONE", "CLIENT LIST"),
        *("GET elsewhere", "SET elsewhere 1"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command.split())


def test_a_wrong_password_is_one_sentence_that_does_not_repeat_it(guarded: GuardedRedis, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=f"redis://pathlight:not-this-one@127.0.0.1:{guarded.port}/0")
    with pytest.raises(StoreUnavailable, match="invalid username-password pair") as caught:
        JobStore.connect(settings).ping()
    assert "not-this-one" not in str(caught.value) and PASSWORD not in str(caught.value)


def test_a_server_with_a_certificate_of_nobody_known_is_not_spoken_to(guarded: GuardedRedis, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url=guarded.untrusted_url)
    with pytest.raises(StoreUnavailable, match="certificate verify failed"):
        JobStore.connect(settings).ping()
    broker = make_celery(settings).connection_for_write()
    with pytest.raises(OperationalError, match="certificate verify failed"), broker:
        broker.ensure_connection(max_retries=1)
