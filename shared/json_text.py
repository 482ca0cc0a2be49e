"""JSON of large documents, many times as fast as by the standard library, whose answer it falls back on; and JSON from
strangers, within bounds."""

from __future__ import annotations

import codecs
import json
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """As UTF-8, without a space or a line break; all numbers have to be finite. Raises TypeError for what JSON has no
    words for."""
    try:
        return orjson.dumps(value)
    except TypeError:  # keys that are no strings, and halves of characters, which JSON can only name by their numbers
        return json.dumps(value, separators=(",", ":")).encode()


def decode(data: bytes | str) -> Any:
    """Raises ValueError for what is no JSON, or nested more than a thousand levels deep."""
    return orjson.loads(data)


def decode_few(data: bytes, *, most: int) -> Any:
    """The same of a stranger's text that may hold up to `most` values. Each is an object in memory that is a hundred
    times as large as its text; so they are counted before any is made, by what stands before a value. That counts
    a little too much where texts hold such characters. A byte-order mark, with which some editors begin a file, is no
    part of it. Raises ValueError."""
    data = data.removeprefix(codecs.BOM_UTF8)
    if sum(map(data.count, _BEFORE_VALUES)) > most:
        raise ValueError(f"more than {most} values")
    return decode(data)


_BEFORE_VALUES = (b"{", b"[", b",", b":")
