"""What goes to and fro between a process and its decoder: a JSON object and byte strings, behind their lengths."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

_LENGTHS = struct.Struct(">II")  # of the JSON text, and how many byte strings follow
_LENGTH = struct.Struct(">Q")


def write(file: BinaryIO, fields: Mapping[str, Any], parts: Sequence[bytes | memoryview] = ()) -> None:
    """Send one message. Raises BrokenPipeError where nobody reads."""
    text = json.dumps(fields).encode()
    file.write(_LENGTHS.pack(len(text), len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts) + text)
    for part in parts:
        file.write(part)
    file.flush()


def read(file: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next message; None where the other side has ended, even in the middle of one."""
    try:
        text_length, count = _LENGTHS.unpack(_exactly(file, _LENGTHS.size))
        lengths = [length for (length,) in _LENGTH.iter_unpack(_exactly(file, count * _LENGTH.size))]
        return json.loads(_exactly(file, text_length)), [_exactly(file, length) for length in lengths]
    except EOFError:
        return None


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
