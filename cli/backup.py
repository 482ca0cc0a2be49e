"""`pathlight backup` and `pathlight restore`: all that the embedded service has to remember, as one file, and back.

The file is a plain tar: Redis as it was at one moment, the blobs, the models of one's own, and last an index, without
which it is not whole. Redis comes first and no blob is swept meanwhile, so that every blob that a job names is there;
a blob whose job came later is one that nobody names, and is swept some day. Blobs in a bucket stay there, and the index
says where.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import redis

from cli import embedded
from cli.processes import Child, stop_all
from cli.run import locked, wait_for_redis
from cli.say import Say
from shared import distribution, json_text
from shared.blobs.blob_store import BlobStore
from shared.cards.versions import changing
from shared.errors import BatchTooLarge, InvalidBackup, PathlightError, StorageFailed, StoreUnavailable
from shared.images.archives import Measured
from shared.jobs import JobStatus
from shared.settings import Settings
from shared.store.connection import answering, connect
from shared.store.job_store import JobStore

FORMAT = 1
SNAPSHOT_SECONDS = 120.0
# Redis reads a snapshot where it expects its append-only file, and goes on writing behind it.
REDIS = "redis/appendonly.aof"
_INDEX = "backup.json"
_LARGEST_INDEX = 1 << 20
_MOST_VALUES = 50_000  # of the index, names counted too
_MOST_FILES = 5_000  # beside the blobs: a few for each version of a model
_MODELS = "models.toml"
_BLOB = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_OTHERS = re.compile(
    rf"{re.escape(REDIS)}|{_MODELS}|registry/[a-z0-9][a-z0-9_-]*/"
    r"(entry-[0-9a-f]{16}|removed|(v-[0-9a-f]{16}/)?(card\.json|hierarchy\.json|weights\.safetensors))"
)
_PARTS = ("blobs", "registry", _MODELS, "redis")  # the last makes the others count
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Contents:
    """What a backup holds."""

    jobs: int
    blobs: int
    damaged: int = 0  # blobs that were left out: they are not what they were when they were stored
    bucket: str = ""  # where the blobs are, if not in the backup: PATHLIGHT_BLOBS of the service


def backup(target: Path, settings: Settings, *, say: Say) -> tuple[Path, Contents]:
    """Write the state into the file `target`, or into a new file where that is a folder; beside a running service, or
    without one. Raises StorageFailed, StoreUnavailable, AlreadyRunning, or PathlightError where there is no state."""
    _require_embedded(settings)
    if not (settings.home / "redis").is_dir():
        raise PathlightError(f"there is nothing to back up in {settings.home}; is PATHLIGHT_HOME right?")
    path = target / f"pathlight-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar" if target.is_dir() else target
    if path.exists():
        raise StorageFailed(f"{path} is there already; choose another name, or a folder")
    try:
        with _whole_or_not_at_all(path) as file, BlobStore(settings.blobs).unswept(), _redis(settings):
            return path, _write(file, settings, say)
    except OSError as error:
        raise StorageFailed(f"{path} could not be written: {error.strerror}") from error


def restore(source: Path, settings: Settings, *, say: Say) -> Contents:
    """Put the state of a backup into a home that has none. Raises InvalidBackup, StorageFailed, AlreadyRunning, or
    PathlightError where the home is not empty."""
    _require_embedded(settings)
    _require_empty(settings.home)
    try:
        with locked(settings), tempfile.TemporaryDirectory(prefix=".restoring-", dir=settings.home) as staging:
            contents = _read(source, Path(staging), say)
            for part in _PARTS:
                if (Path(staging) / part).exists():
                    os.rename(Path(staging) / part, settings.home / part)
            return contents
    except OSError as error:
        raise StorageFailed(f"{settings.home} could not be written: {error.strerror}") from error


def _require_embedded(settings: Settings) -> None:
    if not settings.embedded:
        raise PathlightError(
            "REDIS_URL names a Redis of its own, which is backed up by its own means; docs/maintenance.md says how"
        )


def _require_empty(home: Path) -> None:
    if home.exists() and any(path.name != "lock" for path in home.iterdir()):
        raise PathlightError(f"{home} is not empty; restore into a new directory, which PATHLIGHT_HOME names")


# -- writing -----------------------------------------------------------------------------------------------------------


@contextmanager
def _whole_or_not_at_all(path: Path) -> Iterator[IO[bytes]]:
    """A file for the owner alone, which gets its name when it is whole and on the disk."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@contextmanager
def _redis(settings: Settings) -> Iterator[None]:
    """The Redis of the running service, or one that is started for as long as this takes."""
    try:
        JobStore.connect(settings).ping()
    except StoreUnavailable:
        with locked(settings):
            child = Child("redis", embedded.prepare(settings), os.environ)
            child.start()
            try:
                wait_for_redis(settings)
                yield
            finally:
                stop_all([child], seconds=10)
    else:
        yield


def _write(file: IO[bytes], settings: Settings, say: Say) -> Contents:
    hashes: dict[str, str] = {}

    def add(name: str, path: Path) -> None:
        with path.open("rb") as data:
            hashes[name] = hashlib.file_digest(data, "sha256").hexdigest()
        archive.add(path, name, filter=_plain)

    with tarfile.open(fileobj=file, mode="w") as archive:
        say("asking Redis for its state")
        with changing(settings.registry):  # so that the versions are there that its jobs name
            with _snapshot(settings) as dump:
                add(REDIS, dump)
            for path in sorted(settings.registry.glob("*/**/*")):
                name = f"registry/{path.relative_to(settings.registry)}"
                if _OTHERS.fullmatch(name):
                    add(name, path)
            if (settings.home / _MODELS).exists():
                add(_MODELS, settings.home / _MODELS)
        blobs, damaged = _add_blobs(archive, settings.blobs, say)
        store = JobStore.connect(settings)
        counts = store.counts()
        index = {
            "format": FORMAT,
            "pathlight": version(distribution.NAME),
            "redis": store.server_info()["redis_version"],
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "jobs": sum(counts.get(status, 0) for status in JobStatus),
            "blobs": blobs,
            "bucket": settings.blobs_url,
            "sha256": hashes,
        }
        _add_bytes(archive, _INDEX, json.dumps(index, indent=2).encode() + b"\n")
    return Contents(index["jobs"], blobs, damaged, settings.blobs_url)


@contextmanager
def _snapshot(settings: Settings) -> Iterator[Path]:
    """A file with all of Redis at one moment, written by a process of its own while Redis goes on."""
    dump = settings.home / "redis" / "dump.rdb"
    client = connect(settings)
    until = time.monotonic() + SNAPSHOT_SECONDS
    dump.unlink(missing_ok=True)
    try:
        with answering():
            _begin_snapshot(client, until)
            while client.info("persistence")["rdb_bgsave_in_progress"] and time.monotonic() < until:
                time.sleep(0.05)
        if not dump.exists():
            raise StorageFailed(f"Redis could not write its state to {dump.parent}; has the disk room?")
        yield dump
    finally:
        dump.unlink(missing_ok=True)


def _begin_snapshot(client: redis.Redis, until: float) -> None:
    """Redis does not write two files at once: its append-only file may be rewritten just now."""
    while True:
        try:
            client.execute_command("BGSAVE")
            return
        except redis.ResponseError as error:
            if "in progress" not in str(error) or time.monotonic() > until:
                raise StoreUnavailable(f"Redis does not write its state: {error}") from error
            time.sleep(0.2)


def _add_blobs(archive: tarfile.TarFile, folder: Path, say: Say) -> tuple[int, int]:
    """How many were added, and how many left out because they are damaged."""
    added = damaged = 0
    for path in sorted(folder.glob("??/*")):
        name = f"blobs/{path.parent.name}/{path.name}"
        if not _BLOB.fullmatch(name):
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # its request was refused
            continue
        if hashlib.sha256(data).hexdigest() != path.name:
            damaged += 1
            continue
        _add_bytes(archive, name, data)
        added += 1
        say(f"copying pictures and results: {added}")
    return added, damaged


def _add_bytes(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    archive.addfile(info, io.BytesIO(data))


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names of this machine's users."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


# -- reading -----------------------------------------------------------------------------------------------------------


def _read(source: Path, staging: Path, say: Say) -> Contents:
    """Unpack a backup into an empty folder, every file checked against its hash."""
    hashes: dict[str, str] = {}
    blobs = 0
    index: Mapping[str, Any] | None = None
    try:
        with source.open("rb") as file, tarfile.open(fileobj=Measured(file), mode="r:") as archive:  # type: ignore[call-overload]
            for info in archive:
                # A header of a file with holes stands for any number of zeros.
                content = archive.extractfile(info) if info.isfile() and not info.issparse() else None
                if content is None or index is not None or len(hashes) > _MOST_FILES:
                    raise InvalidBackup(f"{source} is no backup of Pathlight: it holds {info.name!r}")
                if info.name == _INDEX:
                    index = _index(content.read(_LARGEST_INDEX), source)
                    continue
                blob = _BLOB.fullmatch(info.name)
                if not blob and not _OTHERS.fullmatch(info.name):
                    raise InvalidBackup(f"{source} is no backup of Pathlight: it holds {info.name!r}")
                digest = _unpack(content, staging / info.name)
                if not blob:
                    hashes[info.name] = digest
                elif digest != blob[2]:
                    raise InvalidBackup(f"{source} is damaged: {info.name} is not what it was")
                else:
                    blobs += 1
                    say(f"copying pictures and results: {blobs}")
    except (tarfile.TarError, BatchTooLarge) as error:
        raise InvalidBackup(f"{source} is no backup of Pathlight, or a damaged one: {error}") from error
    if index is None or index["sha256"] != hashes or index["blobs"] != blobs or REDIS not in hashes:
        raise InvalidBackup(f"{source} is not whole; take another backup")
    _check_redis(index["redis"])
    return Contents(index["jobs"], blobs, bucket=index.get("bucket", ""))


def _unpack(content: IO[bytes], path: Path) -> str:
    """Write a file of its own, and return its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    with path.open("xb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _index(data: bytes, source: Path) -> Mapping[str, Any]:
    try:
        index: Mapping[str, Any] = json_text.decode_few(data, most=_MOST_VALUES)
        known = index["format"] == FORMAT and index.keys() >= {"blobs", "sha256"} and _is_sound(index)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidBackup(f"{source} is damaged: its {_INDEX} cannot be read") from error
    if not known:
        raise InvalidBackup(f"{source} was made by another version of Pathlight; restore it with that one")
    return index


def _is_sound(index: Mapping[str, Any]) -> bool:
    """Whether what is said of Redis, jobs and bucket is what it should be."""
    known = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", index["redis"]) and isinstance(index.get("bucket", ""), str)
    return bool(known) and type(index["jobs"]) is int


def _check_redis(written_by: str) -> None:
    """A Redis reads what its own major version or an older one wrote."""
    _, here = embedded.find_server()
    if int(written_by.split(".")[0]) > here[0]:
        own = ".".join(map(str, here))
        raise InvalidBackup(
            f"the backup was written by Redis {written_by}, which the {own} of this machine cannot read"
        )
