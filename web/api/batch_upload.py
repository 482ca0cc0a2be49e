"""From a request to the members of a batch: a form of any length, its pictures stored as they arrive."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from flask import Request
from werkzeug.http import parse_options_header

from shared.blobs.blob_store import Provisional
from shared.errors import BatchTooLarge, InvalidImage
from shared.images.archives import MAGIC_BYTES, Bounds, is_archive, shown_name
from shared.images.decode import Limits, read_header
from shared.images.sandbox.decoders import PROCESSES, CheckedEntry, read_archive
from shared.jobs import ImageRecord, JobError
from shared.settings import Settings
from shared.store.batches import Member
from web.http import access, slots
from web.http.forms import CHUNK, FormPart, read_parts
from web.http.problems import BadRequest, Busy
from web.http.room import Room
from web.http.turns import Turns

_LONGEST_FIELD = 4096
_MOST_FIELDS = 100
_BLOCK = 4096  # what the smallest file takes on a disk
UNPACKED_FOR_ONE = PROCESSES  # archives that a caller may have unpacked, each by a process of its own
UNPACKED_AT_ONCE = UNPACKED_FOR_ONE + 1  # so that one place is always left to other callers
PATIENCE_SECONDS = 10.0


@dataclass
class Upload:
    """What a form holds: its options, the checked pictures in order, and the name of its archive, if it was one."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    name: str = ""


def unpacking_turns() -> Turns:
    """Of one web process. An archive takes its place when all of it has arrived: a slow sender holds none."""
    return Turns(
        "archives that are being unpacked",
        at_once=UNPACKED_AT_ONCE,
        of_one=UNPACKED_FOR_ONE,
        busy=lambda: Busy("too many archives are being unpacked; send it again shortly"),
        patience=PATIENCE_SECONDS,
    )


class Reader:
    """Reads one form. Pictures go to the blob store; what is none becomes a member with the error that it will have."""

    def __init__(self, settings: Settings, blobs: Provisional, *, room: Room, unpacking: Turns) -> None:
        self._settings = settings
        self._blobs = blobs
        self._room = room
        self._unpacking = unpacking
        self._limits = Limits.of(settings)
        self._upload = Upload()

    def read(self, request: Request) -> Upload:
        """Raises BadRequest, InvalidArchive, BatchTooLarge, QueueFull where the disk has no room, and TooManyRequests
        or Busy where enough archives are being unpacked for this caller, or in all."""
        if request.mimetype != "multipart/form-data":
            raise BadRequest("send multipart/form-data with image parts: pictures, or one .zip or .tar of pictures")
        request.max_content_length = self._settings.batch_bytes
        _, options = parse_options_header(request.headers.get("Content-Type"))
        began = time.monotonic()
        try:
            self._read_parts(read_parts(request.stream, options.get("boundary", "")))
        except UnicodeError as error:
            raise BadRequest("a field of the form is no text") from error
        if not self._upload.members:
            raise BadRequest("send at least one picture, in a part named image")
        if time.monotonic() - began > self._settings.blob_grace_seconds / 2:
            self._keep_all()
        return self._upload

    def _keep_all(self) -> None:
        """The first pictures have waited for long, and a sweep may have taken them for abandoned."""
        if not all(self._blobs.keep(member.image.sha256) for member in self._upload.members if member.error is None):
            raise BadRequest("the upload took so long that its first pictures are gone; send several smaller batches")

    def _read_parts(self, parts: Iterator[FormPart]) -> None:
        for part in parts:
            if part.filename is None:
                self._read_field(part.name, _Body(part))
            elif part.name != "image":
                raise BadRequest(f"send files in parts named image, not {part.name!r}")
            else:
                self._read_file(part.filename, _Body(part))

    def _read_field(self, name: str, body: _Body) -> None:
        if sum(map(len, self._upload.fields.values())) >= _MOST_FIELDS:
            raise BadRequest(f"the form has more than {_MOST_FIELDS} fields")
        text = body.read(_LONGEST_FIELD + 1)
        if len(text) > _LONGEST_FIELD:
            raise BadRequest(f"{name}: the value is too long")
        self._upload.fields.setdefault(name, []).append(text.decode())

    def _read_file(self, filename: str, body: _Body) -> None:
        head = body.read(MAGIC_BYTES)
        if is_archive(head):
            self._read_archive(filename, head, body)
            return
        data = head + body.read(self._settings.image_bytes + 1 - len(head))
        if filename or data:  # a browser sends a nameless, empty part where no file was chosen
            self._read_picture(filename, data)

    def _read_archive(self, filename: str, head: bytes, body: _Body) -> None:
        if self._upload.members:
            raise BadRequest("send either pictures or one archive, not both")
        bounds = Bounds(self._settings.batch_members, self._settings.image_bytes, self._settings.batch_bytes)
        with tempfile.TemporaryFile(dir=self._room.folder) as file:
            file.write(head)
            while chunk := body.read(CHUNK):
                with self._room.taken(len(chunk)):
                    file.write(chunk)
            file.flush()
            with slots.released(), self._unpacking.taken(access.sharer()):
                for entry in read_archive(file, bounds, self._limits):
                    self._add(entry)
        self._upload.name = shown_name(filename)

    def _read_picture(self, filename: str, data: bytes) -> None:
        name, digest = shown_name(filename), hashlib.sha256(data).hexdigest()
        try:
            self._add(CheckedEntry(name, digest, read_header(data, self._limits), data, ""))
        except InvalidImage as error:
            self._add(CheckedEntry(name, digest, None, b"", str(error)))

    def _add(self, entry: CheckedEntry) -> None:
        if self._upload.name:
            raise BadRequest("send either pictures or one archive, not both")
        if len(self._upload.members) >= self._settings.batch_members:
            raise BatchTooLarge(f"a batch has at most {self._settings.batch_members} pictures; send several")
        self._upload.members.append(self._member(entry))

    def _member(self, entry: CheckedEntry) -> Member:
        if entry.header is None:
            image = ImageRecord(entry.sha256, 0, 0, "", entry.name)
            return Member(image, error=JobError(InvalidImage.code, entry.fault))
        with self._room.taken(max(len(entry.data), _BLOCK)):
            self._blobs.put(entry.data)
        header = entry.header
        image = ImageRecord(entry.sha256, header.width, header.height, header.format, entry.name)
        return Member(image, file_bytes=len(entry.data))


class _Body:
    """The bytes of one part of a form, as a file that can be read once."""

    def __init__(self, part: FormPart) -> None:
        self._chunks = part.body
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the part's end."""
        while len(self._held) < size and (chunk := next(self._chunks, b"")):
            self._held += chunk
        data = bytes(self._held[:size])
        del self._held[:size]
        return data
