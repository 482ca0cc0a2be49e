"""`pathlight doctor`: what is in order on this machine and in the service, and how to mend the rest."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from cli.embedded import OLDEST_SYSTEM_VERSION, find_server
from shared.blobs.blob_store import BlobStore
from shared.blobs.bucket import blob_store
from shared.cards.card import Registry
from shared.distribution import install
from shared.errors import PathlightError
from shared.settings import Settings
from shared.store.job_store import JobStore
from shared.store.overview import Overview

PACKAGES = ("celery", "redis", "pillow")
ROLES: Mapping[str, tuple[str, ...]] = {"web": ("flask",), "worker": ("torch", "torchvision")}
# The first release of each line of Redis without the Lua flaws of 2025; later lines began without them.
SOUND_REDIS = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
MOST_SKEW_SECONDS = 2.0
LATE_KEEPER_SECONDS = 60.0
FULL_MEMORY = 0.75  # of Redis's; above it batches are refused, and soon everything


@dataclass(frozen=True)
class Finding:
    """One thing looked at: in order or not, the sentence that says so, and what to do where it is not."""

    good: bool
    text: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        return self.text if self.good or not self.remedy else f"{self.text}; {self.remedy}"


def check(settings: Settings) -> Iterator[Finding]:
    """Look at versions, models, disk and Redis and, where the service runs, at what it says of itself."""
    yield from _versions()
    yield from _models(settings)
    yield _disk(settings)
    if settings.blobs_url:
        yield _bucket(settings)
    if settings.embedded:
        yield _own_server()
    store = JobStore.connect(settings)
    try:
        server = store.server_info()
        began = time.time()
        overview = store.overview()
        skew = overview.now_ms / 1000 - (began + time.time()) / 2
        keys = len(store.keys.all())
    except PathlightError as error:
        yield Finding(False, f"the job store is away: {error}", "start it with: pathlight run")
        return
    yield from _redis(server, overview, settings)
    yield _clock(skew)
    yield from _service(overview, settings)
    yield _keys(keys, settings)


def _versions() -> Iterator[Finding]:
    numbers = tuple(map(int, platform.python_version_tuple()[:2]))
    yield Finding(
        (3, 11) <= numbers <= (3, 12),
        f"Python {platform.python_version()}",
        "install 3.12 and run: make run PYTHON=python3.12",
    )
    for name in PACKAGES:
        known = _version(name)
        yield Finding(known is not None, f"{name} {known or 'is not installed'}", "run: make run")
    yield from _roles()


def _roles() -> Iterator[Finding]:
    """An environment may be that of one role: of the other, it then has nothing."""
    found = {role: {name: _version(name) for name in names} for role, names in ROLES.items()}
    whole = [role for role, versions in found.items() if all(versions.values())]
    for role, versions in found.items():
        if whole and not any(versions.values()):
            yield Finding(
                True, f"{', '.join(versions)}: not here, and not needed for {whole[0]}; {install(role)} brings them"
            )
            continue
        for name, known in versions.items():
            yield Finding(known is not None, f"{name} {known or 'is not installed'}", f"run: {install(role)}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _models(settings: Settings) -> Iterator[Finding]:
    for card in Registry.load(settings).cards.values():
        if card.missing is None:
            yield Finding(True, f"model {card.name} is ready")
        elif card.name in settings.default_models:
            yield Finding(False, f"model {card.name}: {card.missing}", f"run: {card.remedy}")
        else:
            yield Finding(True, f"model {card.name} is not here, and not needed; {card.remedy} brings it")


def _disk(settings: Settings) -> Finding:
    try:
        free = BlobStore(settings.blobs).free_bytes()
    except OSError as error:
        return Finding(
            False, f"{settings.home} cannot be used: {error.strerror}", "set PATHLIGHT_HOME to a folder of yours"
        )
    return Finding(
        free >= settings.disk_reserve_bytes,
        f"{free / 1e9:.1f} GB free in {settings.home} (at least {settings.disk_reserve_bytes / 1e9:.1f} GB are needed)",
        "make room there, or set PATHLIGHT_RETENTION_SECONDS lower",
    )


def _bucket(settings: Settings) -> Finding:
    try:
        blob_store(settings).free_bytes()
    except PathlightError as error:
        return Finding(False, f"{settings.blobs_url}: {error}", "look at PATHLIGHT_BLOBS and the AWS_* variables")
    return Finding(True, f"{settings.blobs_url} answers")


def _own_server() -> Finding:
    try:
        server, known = find_server()
    except PathlightError as error:
        return Finding(False, str(error))
    text = f"{server.name} {'.'.join(map(str, known))} for the embedded store"
    recent = known >= OLDEST_SYSTEM_VERSION
    return Finding(True, text + ("" if recent else " (bundled; apt-get install redis-server brings fixes)"))


def _redis(server: Mapping[str, Any], overview: Overview, settings: Settings) -> Iterator[Finding]:
    if not settings.embedded:
        yield _server_version(server)
    yield Finding(
        bool(server.get("aof_enabled")),
        "Redis writes an append-only file" if server.get("aof_enabled") else "Redis keeps nothing over a restart",
        "set appendonly yes in its configuration, and: redis-cli CONFIG SET appendonly yes",
    )
    written = str(server.get("aof_last_write_status", "ok"))
    yield Finding(written == "ok", f"Redis's last write to its disk: {written}", "make room on the disk of Redis")
    policy = server.get("maxmemory_policy")
    yield Finding(
        policy == "noeviction",
        f"Redis's maxmemory-policy is {policy}",
        "set maxmemory-policy noeviction: any other may forget jobs",
    )
    if not overview.memory_limit:
        yield Finding(False, "Redis has no bound on its memory", "set maxmemory to less than the machine has")
        return
    used = overview.memory_used / overview.memory_limit
    yield Finding(
        used < FULL_MEMORY,
        f"Redis uses {used:.0%} of its {overview.memory_limit / 1e6:.0f} MB",
        "raise maxmemory, or wait until jobs have ended and were forgotten",
    )


def _server_version(server: Mapping[str, Any]) -> Finding:
    if "valkey_version" in server:
        return Finding(True, f"Valkey {server['valkey_version']}")
    known = str(server["redis_version"])
    major, minor, patch = (int(part) for part in known.split(".")[:3])
    sound = SOUND_REDIS.get((major, minor), 0 if (major, minor) > max(SOUND_REDIS) else math.inf)
    return Finding(
        patch >= sound,
        f"Redis {known}",
        "it has known flaws in its Lua engine: upgrade it to the newest release of 7.4 or 8",
    )


def _clock(skew: float) -> Finding:
    return Finding(
        abs(skew) <= MOST_SKEW_SECONDS,
        f"the clocks of Redis and of this machine differ by {abs(skew):.1f} s",
        "have both set by NTP (timedatectl set-ntp true)",
    )


def _service(overview: Overview, settings: Settings) -> Iterator[Finding]:
    yield Finding(
        overview.workers > 0,
        f"{overview.workers} workers heard within {settings.heartbeat_seconds:.0f} s",
        "start one: pathlight run, or docker compose up --detach worker",
    )
    since = math.inf if overview.reaped_ms is None else (overview.now_ms - overview.reaped_ms) / 1000
    yield Finding(
        since < LATE_KEEPER_SECONDS,
        "the keeper never passed" if since == math.inf else f"the keeper passed {max(0.0, since):.0f} s ago",
        "start it: pathlight run, or docker compose up --detach keeper",
    )
    yield Finding(
        overview.unaccounted == 0,
        f"of {overview.counts.get('accepted', 0)} accepted jobs {abs(overview.unaccounted)} are unaccounted for",
        "report this with the log, it is a fault of Pathlight",
    )


def _keys(count: int, settings: Settings) -> Finding:
    if not settings.keys_required:
        return Finding(True, f"API keys: not required, only this machine reaches {settings.host} ({count} made)")
    return Finding(count > 0, f"API keys: required, {count} made", "make one: pathlight keys create NAME")
