"""One archive of all that a job answered: its JSON, every file, and a manifest of their hashes. The same job gives the
same bytes. It is written while it is sent, so that no more than one file is held at a time."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from shared.drawing import Style
from shared.jobs import Job
from shared.results import Result
from web.artifacts import Artifacts

MANIFEST = "manifest.json"
_MODE = 0o644 << 16  # of a file, as archives keep it


def bundle(job: Job, result: Result, document: dict[str, Any], *, artifacts: Artifacts) -> Iterator[bytes]:
    """The archive of a succeeded job in parts; `document` is the job's JSON."""
    return archive(_with_manifest(job, _files(job, result, document, artifacts)))


def archive(files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """A zip of files in parts. Pictures are compressed already, and what is stored plain never differs."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as target:  # type: ignore[call-overload]  # all that it needs is there
        for name, data in files:
            info = zipfile.ZipInfo(name)  # of a fixed date
            info.external_attr = _MODE
            target.writestr(info, data)
            yield sink.take()
    yield sink.take()


def _files(job: Job, result: Result, document: dict[str, Any], artifacts: Artifacts) -> Iterator[tuple[str, bytes]]:
    yield "job.json", _json(document)
    for name in artifacts.names(result):
        yield f"artifacts/{name}", artifacts.get(job, result, name, Style()).make()


def _with_manifest(job: Job, files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """The files, and behind them what they were."""
    hashes = {}
    for name, data in files:
        hashes[name] = hashlib.sha256(data).hexdigest()
        yield name, data
    yield MANIFEST, _json({"job": job.id, "original_sha256": job.image.sha256, "sha256": hashes})


def _json(document: object) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


class _Sink:
    """Where a zip is written to: holds what was not yet taken. It cannot seek, so that sizes follow each file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
