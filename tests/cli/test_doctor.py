"""The doctor finds what is wrong with a service, and says how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from cli.doctor import Finding, _clock, _server_version, check
from shared.settings import Settings
from shared.store.job_store import PREFIX, JobStore
from tests.guarded_redis import guarded_redis
from tests.shared.submissions import raw_client, submission


def to_mend(settings: Settings) -> list[str]:
    return [finding.sentence for finding in check(settings) if not finding.good]


@pytest.fixture
def running(store: JobStore, settings: Settings) -> JobStore:
    """As if a whole service ran."""
    store.heartbeat("worker@here")
    store.reap()
    return store


def test_a_sound_service_needs_no_mending(running: JobStore, settings: Settings) -> None:
    found = list(check(settings))
    assert [finding.sentence for finding in found if not finding.good] == []
    said = " ".join(finding.sentence for finding in found)
    for part in (
        "torch 2",
        "nbdt-cifar10 is ready",
        "GB free",
        "append-only",
        "noeviction",
        "1 workers",
        "differ by 0.0",
    ):
        assert part in said, part
    assert "the keeper passed 0 s ago" in said and "API keys: not required" in said


def break_books(raw: redis.Redis) -> None:
    raw.hincrby(f"{PREFIX}counts", "queued", -1)


@pytest.mark.parametrize(
    ("wreck", "sentence"),
    [
        (lambda raw: raw.delete(f"{PREFIX}workers"), "0 workers heard within 30 s; start one: pathlight run"),
        (lambda raw: raw.hset(f"{PREFIX}tally", "reaped", 1), "s ago; start it: pathlight run, or docker compose"),
        (lambda raw: raw.hdel(f"{PREFIX}tally", "reaped"), "the keeper never passed; start it"),
        (break_books, "of 1 accepted jobs 1 are unaccounted for; report this"),
    ],
    ids=["no worker", "late keeper", "no keeper", "books"],
)
def test_what_is_wrong_with_the_service_is_the_one_thing_to_mend(
    wreck: Callable[[redis.Redis], object], sentence: str, running: JobStore, settings: Settings
) -> None:
    running.submit(submission())
    wreck(raw_client(settings))
    (only,) = to_mend(settings)
    assert sentence in only


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keys": "required"}, "API keys: required, 0 made; make one: pathlight keys create NAME"),
        ({"disk_reserve_bytes": 2**60}, "GB are needed); make room there"),
        ({"classifier": "resnet18-imagenet"}, "run: pathlight models fetch resnet18-imagenet"),
    ],
    ids=["keys", "disk", "model"],
)
def test_what_the_settings_ask_for_and_is_not_there_is_to_be_mended(
    changes: dict[str, object], sentence: str, running: JobStore, settings: Settings
) -> None:
    (only,) = to_mend(replace(settings, **changes))  # type: ignore[arg-type]
    assert sentence in only


def test_a_redis_of_ones_own_that_may_lose_jobs_is_found(tmp_path: Path) -> None:
    with guarded_redis(tmp_path) as server:
        settings = Settings(home=tmp_path / "home", redis_url=server.url)
        store = JobStore.connect(settings)
        store.heartbeat("worker@here")
        store.reap()
        said = to_mend(settings)
    assert any("keeps nothing over a restart; set appendonly yes" in one for one in said)
    assert any("no bound on its memory; set maxmemory" in one for one in said)
    assert not any("noeviction" in one for one in said)


@pytest.mark.parametrize(
    ("version", "good"),
    [
        *(("6.2.19", False), ("6.2.20", True), ("7.0.15", False), ("7.2.11", True), ("7.4.5", False), ("8.0.4", True)),
        *(("8.2.1", False), ("8.10.2", True), ("9.0.0", True), ("5.0.7", False)),
    ],
)
def test_a_redis_with_known_flaws_is_to_be_upgraded(version: str, good: bool) -> None:
    found = _server_version({"redis_version": version})
    assert found.good is good and (good or "upgrade" in found.sentence)
    assert _server_version({"redis_version": version, "valkey_version": "8.1.0"}) == Finding(True, "Valkey 8.1.0")


@pytest.mark.parametrize("skew", [-3.0, 3.0])
def test_clocks_that_differ_are_to_be_set(skew: float) -> None:
    assert _clock(0.5).good
    assert _clock(skew).sentence == (
        "the clocks of Redis and of this machine differ by 3.0 s; have both set by NTP (timedatectl set-ntp true)"
    )
