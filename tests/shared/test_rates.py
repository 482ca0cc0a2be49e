"""How often something may be asked for: counted within a window that slides, and where Redis is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from shared.store.keys import Scope
from tests.shared.submissions import raw_client


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", redis_memory_bytes=2_000_000)


@pytest.fixture
def raw(settings: Settings, store: JobStore) -> Iterator[redis.Redis]:
    with raw_client(settings) as client:
        yield client


def fill(raw: redis.Redis) -> None:
    """Leave Redis no memory for anything that grows."""
    raw.eval("redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], string.rep('x', 2000000))", 1, "ballast")


def test_so_many_a_minute_are_allowed_to_each_name(store: JobStore) -> None:
    assert [store.rates.wait_seconds("a", most=3) for _ in range(3)] == [0] * 3
    assert 0 < store.rates.wait_seconds("a", most=3) <= 60
    assert store.rates.wait_seconds("b", most=3) == 0


def test_of_the_window_before_what_lies_within_a_minute_counts(store: JobStore, raw: redis.Redis) -> None:
    seconds, micros = raw.time()
    now_ms = 1000 * seconds + micros // 1000
    number, elapsed = now_ms // 60_000, now_ms % 60_000 / 60_000
    raw.set(f"{PREFIX}rate:a:{number - 1}", 100)
    allowed = 0
    while not store.rates.wait_seconds("a", most=100):
        allowed += 1
    assert allowed == pytest.approx(100 * elapsed, abs=5)


def test_counts_are_forgotten_by_themselves(store: JobStore, raw: redis.Redis) -> None:
    store.rates.wait_seconds("a", most=3)
    (name,) = raw.keys(f"{PREFIX}rate:*")
    assert 60_000 < raw.pttl(name) <= 120_000


def test_where_redis_is_full_limits_hold_and_keys_sessions_and_revoking_work(store: JobStore, raw: redis.Redis) -> None:
    fill(raw)
    assert [store.rates.wait_seconds("a", most=2) > 0 for _ in range(4)] == [False, False, True, True]
    key, token = store.keys.create("operator", [Scope.ADMIN])
    assert store.keys.find(token) == key
    assert store.keys.of_session(store.keys.open_session(key)) == key
    store.keys.revoke("operator")
    assert store.keys.find(token) is None
    assert store.is_nearly_full()


def test_with_memory_left_redis_is_not_nearly_full(store: JobStore, raw: redis.Redis) -> None:
    assert not store.is_nearly_full()
    fill(raw)
    assert store.is_nearly_full()
    raw.delete("ballast")
    assert not store.is_nearly_full()
