"""JSON and forms that cost the most for their bytes."""

from __future__ import annotations

import random

from tests.faults.cost.pictures import Make

MEGABYTE = 1 << 20


def empty_objects(rng: random.Random, amount: float) -> bytes:
    one = rng.choice((b"{}", b"[]", b'""', b"0"))
    return b'{"models":[' + b",".join([one] * int(4_000_000 * amount)) + b"]}"


def unknown_keys(rng: random.Random, amount: float) -> bytes:
    return (
        b"{" + b",".join(b'"%d":%d' % (number, rng.randrange(10)) for number in range(int(1_100_000 * amount))) + b"}"
    )


def deep(rng: random.Random, amount: float) -> bytes:
    return rng.choice((b"[", b'{"a":')) * int(100_000 * amount)


def few_but_deep(rng: random.Random, amount: float) -> bytes:
    """As deep as the number of values that are taken lets it be."""
    depth = int(rng.randrange(900, 990) * amount)
    return b'{"models":' + b"[" * depth + b"]" * depth + b"}"


def long_number(rng: random.Random, amount: float) -> bytes:
    digits = b"%d" % rng.randrange(1, 10) * int(15 * MEGABYTE * amount)
    return b'{"target":' + digits + b"}"


def long_text(rng: random.Random, amount: float) -> bytes:
    """Characters that are written by their number, six bytes each."""
    return b'{"image_base64":"' + b"\\u00%02x" % rng.randrange(0x41, 0x5A) * int(2_600_000 * amount) + b'"}'


def long_target(rng: random.Random, amount: float) -> bytes:
    return b'{"target":"' + bytes([rng.randrange(97, 123)]) * int(15 * MEGABYTE * amount) + b'"}'


def no_base64(rng: random.Random, amount: float) -> bytes:
    return b'{"image_base64":"' + rng.choice((b"=", b"A", b"-")) * int(13 * MEGABYTE * amount) + b'!"}'


JSON: dict[str, tuple[Make, set[int]]] = {
    "JSON of millions of objects": (empty_objects, {400}),
    "JSON of a million unknown names": (unknown_keys, {400}),
    "JSON of 100,000 levels": (deep, {400}),
    "JSON of few, deep values": (few_but_deep, {400, 422}),
    "JSON with a number of megabytes": (long_number, {400, 422}),
    "JSON with escaped characters": (long_text, {400, 413, 415}),
    "JSON with a long text": (long_target, {400, 413, 422}),
    "JSON with a picture that is none": (no_base64, {400, 413}),
}


def _part(name: str, body: bytes = b"1", filename: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + body + b"\r\n"


def thousand_parts(rng: random.Random, amount: float) -> bytes:
    return (
        b"".join(_part(f"x{number}", b"%d" % rng.randrange(9)) for number in range(int(100_000 * amount)))
        + b"--b--\r\n"
    )


def long_fields(rng: random.Random, amount: float) -> bytes:
    return (
        b"".join(_part(f"x{n}", bytes([rng.randrange(65, 90)]) * 250_000) for n in range(int(38 * amount)))
        + b"--b--\r\n"
    )


def look_alikes(rng: random.Random, amount: float) -> bytes:
    """A file full of what only begins like the end of a part."""
    one = b"\r\n--b" + rng.choice((b"a", b"-", b" x", b"\t\t\t!", b"\r"))
    return _part("image", one * int(15 * MEGABYTE / len(one) * amount), "a.png") + b"--b--\r\n"


def endless_head(rng: random.Random, amount: float) -> bytes:
    """The head of a part that does not end."""
    line = rng.choice((b"X-A: b\r\n", b"X", b";a=b", b" ", b'"'))
    return b'--b\r\nContent-Disposition: form-data; name="image' + line * int(15 * MEGABYTE / len(line) * amount)


def no_parts(rng: random.Random, amount: float) -> bytes:
    """What stands before the first part, without one."""
    line = rng.choice((b"\r\n", b"--", b"-", b"\r\n--"))
    return line * int(15 * MEGABYTE / len(line) * amount)


def many_files(rng: random.Random, amount: float) -> bytes:
    """As many pictures as a batch may have, none of which is one."""
    return b"".join(_part("image", rng.randbytes(4), f"{n}.png") for n in range(int(9_900 * amount))) + b"--b--\r\n"


FORMS: dict[str, tuple[Make, set[int]]] = {
    "form of 100,000 parts": (thousand_parts, {400, 413}),
    "form of long fields": (long_fields, {400, 413, 422}),
    "form of look-alike boundaries": (look_alikes, {202, 400, 413, 415}),
    "form with an endless head": (endless_head, {400, 413}),
    "form without a part": (no_parts, {400, 413}),
}
