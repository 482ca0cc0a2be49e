"""Forms are read as werkzeug reads them, however they are cut, broken or long."""

from __future__ import annotations

import io
import re
from typing import IO

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from web.http.forms import CHUNK, FormParser, read_parts
from web.http.problems import BadRequest

BOUNDARY = "b-1"
BREAKS = st.sampled_from([b"\r\n", b"\n", b"\r"])
# What a reader may trip over: line breaks, dashes, and a boundary that is none.
PIECES = st.sampled_from([b"\r\n", b"\n", b"\r", b"--", b"-", b"b-1", b"--b-1", b"\r\n--b-", b" ", b"x", b"\0", b":"])
HEADS = st.sampled_from(
    [b'form-data; name="a"', b'form-data; name="f"; filename="p.png"', b"form-data; name=f; filename*=UTF-8''%C3%BC"]
)


class Drip(io.BytesIO):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self._most)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """A form, which may be broken."""
    end, out = draw(BREAKS), bytearray()
    for head in draw(st.lists(HEADS, max_size=3)):
        body = b"".join(draw(st.lists(PIECES, max_size=6)))
        out += b"--b-1" + end + b"Content-Disposition: " + head + end + end + body + end
    out += draw(st.sampled_from([b"--b-1--", b"--b-1--\r\nmore", b"", b"--b-1", b"--b-1 \r\n"]))
    return bytes(out[: draw(st.integers(0, len(out)))] if draw(st.booleans()) else out)


def read(parser: FormDataParser, stream: IO[bytes]) -> object:
    """What a form holds; None for a broken one."""
    try:
        _, fields, files = parser.parse(stream, "multipart/form-data", None, {"boundary": BOUNDARY})
    except (BadRequest, ValueError, AttributeError):
        return None
    held = [(name, one.filename, one.read()) for name, one in files.items(multi=True)]
    for one in files.values():
        one.close()
    return list(fields.items(multi=True)), held


@settings(max_examples=400, deadline=None)
@given(forms(), st.integers(1, 40))
def test_a_form_is_read_as_werkzeug_reads_it(form: bytes, chunk: int) -> None:
    assume(not re.search(rb"--b-1--[^\r\n]", form))  # which is no boundary, and which werkzeug takes for the last
    for most in (len(form) + 1, chunk):
        expected = read(FormDataParser(io_factory, silent=False), Drip(form, most))
        assert read(FormParser(io_factory), Drip(form, most)) == expected


def io_factory(*_: object, **__: object) -> IO[bytes]:
    return io.BytesIO()


def test_a_part_whose_body_nobody_reads_is_passed_over() -> None:
    body = b"x" * 3 * CHUNK
    form = b'--b-1\r\nContent-Disposition: form-data; name="%b"; filename="p"\r\n\r\n%b\r\n'
    whole = form % (b"first", body) + form % (b"second", body) + b"--b-1--"
    assert [part.name for part in read_parts(io.BytesIO(whole), BOUNDARY)] == ["first", "second"]


@pytest.mark.parametrize("line", [b"--b-12", b"--b-1--x", b"--b-1-- x", b"--b-1 x", b" --b-1--", b"--b-1-"])
def test_a_line_that_looks_like_the_boundary_is_content(line: bytes) -> None:
    head = b'--b-1\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    (part,) = [
        (part.name, b"".join(part.body))
        for part in read_parts(io.BytesIO(head + b"x\r\n" + line + b"\r\ny\r\n--b-1--"), BOUNDARY)
    ]
    assert part == ("a", b"x\r\n" + line + b"\r\ny")


@pytest.mark.parametrize("form", [b"", b"--b-1", b"--b-1\r\n\r\nno head\r\n--b-1--", b"--other--"])
def test_a_broken_form_is_refused(form: bytes) -> None:
    with pytest.raises(BadRequest, match="malformed"):
        list(read_parts(io.BytesIO(form), BOUNDARY))


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(BadRequest, match="boundary"):
        list(read_parts(io.BytesIO(b"--\r\n"), ""))


@pytest.mark.parametrize(("most", "memory"), [(2, None), (None, 99)])
def test_more_parts_or_a_longer_field_than_allowed_are_refused(most: int | None, memory: int | None) -> None:
    part = b'--b-1\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 100 + b"\r\n"
    parser = FormParser(max_form_parts=most, max_form_memory_size=memory)
    with pytest.raises(RequestEntityTooLarge):
        parser.parse(io.BytesIO(3 * part + b"--b-1--"), "multipart/form-data", None, {"boundary": BOUNDARY})


def test_a_head_without_an_end_is_not_held_for_long() -> None:
    with pytest.raises(RequestEntityTooLarge):
        list(read_parts(io.BytesIO(b"--b-1\r\n" + b"x" * 20 * CHUNK), BOUNDARY))
