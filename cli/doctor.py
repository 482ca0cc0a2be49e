"""`pathlight doctor`: what is in order on this machine, and what to mend."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from cli.embedded import OLDEST_SYSTEM_VERSION, find_server
from shared.blobs import BlobStore
from shared.cards import Registry
from shared.errors import PathlightError
from shared.settings import Settings
from shared.store import JobStore

PACKAGES = ("torch", "torchvision", "celery", "redis", "flask", "pillow")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: in order or not, and the sentence that says so."""

    good: bool
    text: str


def check(settings: Settings) -> list[Finding]:
    """Look at versions, models, disk, the Redis binary and, where it runs, the Redis server."""
    return [*_versions(), *_models(settings), _disk(settings), *_redis(settings)]


def _versions() -> list[Finding]:
    found = [Finding(platform.python_version_tuple() >= ("3", "11"), f"Python {platform.python_version()}")]
    for name in PACKAGES:
        try:
            found.append(Finding(True, f"{name} {version(name)}"))
        except PackageNotFoundError:
            found.append(Finding(False, f"{name} is not installed; run: make run"))
    return found


def _models(settings: Settings) -> list[Finding]:
    found = []
    for card in Registry.load(settings).cards.values():
        needed = card.name in settings.default_models
        if card.missing is None:
            found.append(Finding(True, f"model {card.name} is ready"))
        else:
            found.append(Finding(not needed, f"model {card.name}: {card.missing}; run: {card.remedy}"))
    return found


def _disk(settings: Settings) -> Finding:
    free = BlobStore(settings.blobs).free_bytes()
    return Finding(
        free >= settings.disk_reserve_bytes,
        f"{free / 1e9:.1f} GB free in {settings.home} (at least {settings.disk_reserve_bytes / 1e9:.1f} GB are needed)",
    )


def _redis(settings: Settings) -> list[Finding]:
    found = []
    if settings.embedded:
        server, known = find_server()
        text = f"{server.name} {'.'.join(map(str, known))} for the embedded store"
        recent = known >= OLDEST_SYSTEM_VERSION
        found.append(Finding(True, text + ("" if recent else " (bundled; apt-get install redis-server brings fixes)")))
    try:
        info = JobStore.connect(settings).server_info()
    except PathlightError as error:
        return [*found, Finding(False, f"the job store is away: {error}; start it with: pathlight run")]
    policy = info.get("maxmemory_policy")
    return [
        *found,
        Finding(bool(info.get("aof_enabled")), "Redis writes an append-only file (appendonly yes)"),
        Finding(policy == "noeviction", f"Redis evicts nothing (maxmemory-policy is {policy}, noeviction is needed)"),
        Finding(bool(info.get("maxmemory")), "Redis has a bound on its memory (maxmemory)"),
    ]
