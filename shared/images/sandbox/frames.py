"""What goes to and fro between a process and its decoder: a JSON object and byte strings, behind their lengths.

A message is sent and read in few steps: each one more may be one more time that a process is put to sleep and woken.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

_HEAD = struct.Struct(">QI")  # how many bytes follow, and of them how many lengths
_LENGTH = struct.Struct(">Q")  # of the JSON text, then of each byte string
_MOST = 2**28  # bytes of one message: who reads it does not trust who wrote it

Message = tuple[dict[str, Any], list[memoryview]]
Part = bytes | memoryview


def write(channel: socket.socket, fields: Mapping[str, Any], parts: Sequence[Part] = ()) -> None:
    """Send one message. Raises OSError where nobody reads, or not in time."""
    text = json.dumps(fields).encode()
    lengths = b"".join(_LENGTH.pack(len(one)) for one in (text, *parts))
    size = len(lengths) + len(text) + sum(map(len, parts))
    _send(channel, [_HEAD.pack(size, 1 + len(parts)) + lengths + text, *parts])


def read(channel: socket.socket) -> Message | None:
    """The next message; None where there is none to come, or no whole one, or one that is too large. Raises OSError
    where it does not come in time."""
    try:
        size, count = _HEAD.unpack(_exactly(channel, _HEAD.size))
        if size > _MOST:
            return None
        rest = _exactly(channel, size)
    except (EOFError, ConnectionError):
        return None
    texts = count * _LENGTH.size
    found = []
    for (length,) in _LENGTH.iter_unpack(rest[:texts]):
        found.append(rest[texts : texts + length])
        texts += length
    text, *parts = found
    return json.loads(str(text, "utf-8")), parts


def _send(channel: socket.socket, parts: Sequence[Part]) -> None:
    waiting = [memoryview(part) for part in parts if len(part)]
    while waiting:
        sent = channel.sendmsg(waiting)
        while waiting and sent >= len(waiting[0]):
            sent -= len(waiting.pop(0))
        if sent:
            waiting[0] = waiting[0][sent:]


def _exactly(channel: socket.socket, size: int) -> memoryview:
    data = memoryview(bytearray(size))
    got = 0
    while got < size:
        more = channel.recv_into(data[got:], 0, socket.MSG_WAITALL)
        if not more:
            raise EOFError
        got += more
    return data
