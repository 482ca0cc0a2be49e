"""One archive of all that a job answered: its JSON, every file, and a manifest of their hashes, signed where the
operator has a key. The same job gives the same bytes. It is written while it is sent, so that no more than one file is
held at a time."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator

from shared.documents import JobDocument
from shared.drawing.maps import Style
from shared.jobs import Job
from shared.manifest import MANIFEST, SIGNATURE, Manifest, sign
from shared.results import Result
from web.api.artifacts import Artifacts

_MODE = 0o644 << 16  # of a file, as archives keep it


def bundle(
    job: Job, result: Result, document: JobDocument, *, artifacts: Artifacts, signing_key: str, sharer: str
) -> Iterator[bytes]:
    """The archive of a succeeded job in parts; `document` is the job as the API returns it. No key: no signature.
    What is drawn counts to the sharer."""
    return archive(_with_manifest(job, _files(job, result, document, artifacts, sharer), signing_key))


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


def _files(
    job: Job, result: Result, document: JobDocument, artifacts: Artifacts, sharer: str
) -> Iterator[tuple[str, bytes]]:
    yield "job.json", _json(document.to_dict())
    for name in artifacts.names(job, result):
        yield f"artifacts/{name}", artifacts.get(job, result, name, Style(), sharer=sharer, patient=True).make()


def _with_manifest(job: Job, files: Iterable[tuple[str, bytes]], key: str) -> Iterator[tuple[str, bytes]]:
    """The files, and behind them what they were, and who says so."""
    hashes = {}
    for name, data in files:
        hashes[name] = hashlib.sha256(data).hexdigest()
        yield name, data
    manifest = Manifest(job.id, job.image.sha256, hashes).to_bytes()
    yield MANIFEST, manifest
    if key:
        yield SIGNATURE, sign(manifest, key=key)


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
