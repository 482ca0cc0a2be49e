"""Forms of several parts, read as they arrive, without a regular expression that is compiled anew for the boundary of
every request: this takes werkzeug longer than all else that it does with a form."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from web.http.problems import BadRequest
from web.http.room import Room

CHUNK = 1 << 16
_HELD = 16 * CHUNK  # bytes that a decoder holds at most, while it looks for the end of a part's head
_BREAKS = (b"\r\n", b"\n", b"\r")
# Of a delimiter, behind the boundary. What only begins like one, as the boundary with more letters, is none.
_TAIL = re.compile(rb"(--[^\S\n\r]*(?:\r\n|\n|\r|\Z)|[^\S\n\r]*(?:\r\n|\n|\r))")


@dataclass(frozen=True)
class FormPart:
    """One part of a form. `filename` is None for one that is no file; `body` can be read once, before the next part."""

    name: str
    filename: str | None
    body: Iterator[bytes]


def read_parts(stream: IO[bytes], boundary: str, *, most: int | None = None) -> Iterator[FormPart]:
    """The parts of a form in order. Raises BadRequest where it is malformed or cut short, RequestEntityTooLarge where
    it has more than `most`."""
    if not boundary:
        raise BadRequest("the form has no boundary")
    events = _events(stream, FormDecoder(boundary.encode("latin-1", "replace"), most))
    for event in events:
        if isinstance(event, Field | File):
            filename = event.filename if isinstance(event, File) else None
            yield FormPart(event.name or "", filename, _body(events))


def _body(events: Iterator[object]) -> Iterator[bytes]:
    for event in events:
        assert isinstance(event, Data), "a part's head is followed by its body"
        yield event.data
        if not event.more_data:
            return


def _events(stream: IO[bytes], decoder: FormDecoder) -> Iterator[object]:
    """Up to the end of the form."""
    while True:
        try:
            event = decoder.next_event()
        except (ValueError, AttributeError) as error:  # the decoder's, on a broken form
            raise BadRequest("the form is malformed or incomplete") from error
        if isinstance(event, Epilogue):
            return
        if isinstance(event, NeedData):
            decoder.receive_data(stream.read(CHUNK) or None)
        else:
            yield event


class FormDecoder(MultipartDecoder):
    """werkzeug's, which finds the boundary in another way."""

    def __init__(self, boundary: bytes, most: int | None) -> None:
        super().__init__(b"", _HELD, max_parts=most)  # its expressions for this boundary are compiled once
        self.boundary = boundary
        self.preamble_re = cast("re.Pattern[bytes]", Delimiter(boundary, first=True))
        self.boundary_re = cast("re.Pattern[bytes]", Delimiter(boundary))


@dataclass(frozen=True)
class Delimiter:
    """Stands between the parts of a form: a line break (which may be missing before the first), two dashes, the
    boundary, and the end of a line or of the form. It is searched for as a compiled regular expression is."""

    boundary: bytes
    first: bool = False

    def search(self, data: bytearray, start: int = 0) -> DelimiterMatch | None:
        """The first delimiter at or behind `start`; None where there is none."""
        dashed = b"--" + self.boundary
        while (at := data.find(dashed, start)) >= 0:
            tail = _TAIL.match(data, at + len(dashed))
            before = max((len(one) for one in _BREAKS if data.endswith(one, 0, at)), default=0)
            if tail and (before or self.first):
                return DelimiterMatch(at - before, tail)
            start = at + 1
        return None


@dataclass(frozen=True)
class DelimiterMatch:
    """Where a delimiter was found, as a match of a regular expression tells it."""

    begin: int
    tail: re.Match[bytes]

    def start(self) -> int:
        """Where it begins, the line break before it included."""
        return self.begin

    def end(self) -> int:
        """Where what follows it begins."""
        return self.tail.end()

    def group(self, number: int) -> bytes:
        """A group of what ends the delimiter."""
        return self.tail.group(number)


class FormParser(FormDataParser):
    """Keeps werkzeug's bounds: how many parts a form has, and how many bytes one that is no file."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, Any], MultiDict[str, Any]]:
        """Raises BadRequest and RequestEntityTooLarge."""
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        with ExitStack() as opened:
            for part in read_parts(stream, (options or {}).get("boundary", ""), most=self.max_form_parts):
                if part.filename is None:
                    fields.append((part.name, self._text(part)))
                    continue
                file = self.stream_factory(content_length, None, part.filename, None)
                opened.callback(file.close)
                file.writelines(part.body)
                file.seek(0)
                files.append((part.name, FileStorage(file, part.filename, part.name)))
            opened.pop_all()  # of a whole form, the request closes them
        return stream, self.cls(fields), self.cls(files)

    def _text(self, part: FormPart) -> str:
        value = bytearray()
        for chunk in part.body:
            value += chunk
            if len(value) > (self.max_form_memory_size or math.inf):
                raise RequestEntityTooLarge
        return value.decode("utf-8", "replace")


def form_request(room: Room) -> type[Request]:
    """A request whose forms are read so, and whose files lie where room is looked after."""

    class FormRequest(Request):
        form_data_parser_class = FormParser

        def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
            return cast("IO[bytes]", room.spool())

    return FormRequest
