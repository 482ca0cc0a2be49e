"""What can happen to a file: each mutation makes another file of one, or of two, with a seeded random source."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence

from tests.shared.pictures import PNG_MAGIC, chunk, chunks, mpf, segment, with_checksums

Mutation = Callable[[bytes, bytes, random.Random], bytes]

FOREIGN = (
    b"<html><script>alert(1)</script></html>",
    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    b"%PDF-1.7\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"II*\0\x08\0\0\0",
    b"GIF89a",
    b"BM",
    b"\0\0\0\x18ftypheic",
    b"PK\x03\x04",
    b"\x7fELF",
    b"8BPS\0\x01",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"SIMPLE  =",
)


def truncated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def bits_flipped(data: bytes, other: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 32))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def bits_flipped_with_good_checksums(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """As above, where a checksum would otherwise keep the decoder from seeing it."""
    changed = bits_flipped(data, other, rng)
    return with_checksums(PNG_MAGIC + changed[8:]) if data.startswith(PNG_MAGIC) else changed


def header_bytes_replaced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 3, 8))):
        out[rng.randrange(min(64, len(out)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return with_checksums(bytes(out)) if data.startswith(PNG_MAGIC) and rng.random() < 0.7 else bytes(out)


def block_removed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, length = _block(data, rng)
    return data[:start] + data[start + length :]


def block_repeated(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, length = _block(data, rng)
    return data[:start] + data[start : start + length] * rng.choice((2, 3, 50)) + data[start + length :]


def block_of_one_value(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, length = _block(data, rng)
    return data[:start] + bytes([rng.choice((0, 0xFF, 0xD9, 0xDA))]) * length + data[start + length :]


def spliced(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def parts_shuffled(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Chunks of a PNG or WebP, or segments of a JPEG, in another order, some of them from another file."""
    head, parts = _parts(data)
    parts += rng.sample(_parts(other)[1], k=min(2, len(_parts(other)[1])))
    for _ in range(rng.choice((1, 2, 5))):
        i, k = rng.randrange(len(parts)), rng.randrange(len(parts))
        parts[i], parts[k] = parts[k], parts[i]
    return head + b"".join(parts)


def part_dropped_or_doubled(data: bytes, other: bytes, rng: random.Random) -> bytes:
    head, parts = _parts(data)
    i = rng.randrange(len(parts))
    parts[i : i + 1] = [parts[i]] * rng.choice((0, 2, 100))
    return head + b"".join(parts)


def metadata_inserted(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Profiles, EXIF, XMP, texts and the index of a telephone's pictures, once or often, anywhere in the file."""
    head, parts = _parts(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        made = _metadata(data, rng) * rng.choice((1, 1, 2, 100))
        at = rng.randrange(len(parts) + 1)
        parts[at:at] = [made]
    return head + b"".join(parts)


def _metadata(data: bytes, rng: random.Random) -> bytes:
    """One part of metadata as this kind of file has them; its content is sound, broken, or packs a megabyte."""
    body = rng.choice(
        (rng.randbytes(rng.randrange(200)), zlib.compress(bytes(1 << 20)), b"II*\0\x08\0\0\0" + rng.randbytes(60))
    )
    if data.startswith(PNG_MAGIC):
        names = (b"iCCP", b"zTXt", b"tEXt", b"eXIf")
        texts = [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + body), (b"iTXt", b"a\0\1\0\0\0" + body)]
        return chunk(*rng.choice([*((name, b"a\0\0" + body) for name in names), *texts]))
    if data.startswith(b"RIFF"):
        name = rng.choice((b"ICCP", b"EXIF", b"XMP "))
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    names = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0\1\1", b"MPF\0")
    return rng.choice(
        (mpf(), *(segment(app, name + body) for app, name in zip((0xE1, 0xE1, 0xE2, 0xE2), names, strict=True)))
    )


def lying_length(data: bytes, other: bytes, rng: random.Random) -> bytes:
    head, parts = _parts(data)
    i = rng.randrange(len(parts))
    at = 2 if data.startswith(b"\xff\xd8") else (4 if data.startswith(b"RIFF") else 0)
    width = 2 if at == 2 else 4
    lie = rng.choice((b"\0" * width, b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), rng.randbytes(width)))
    parts[i] = parts[i][:at] + lie + parts[i][at + width :]
    return head + b"".join(parts)


def lying_dimensions(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A header that claims another size, with a good checksum."""
    width, height = (rng.choice((0, 1, 97, 5000, 8192, 8193, 65535, 2**31 - 1)) for _ in range(2))
    if data.startswith(PNG_MAGIC):
        return with_checksums(data[:16] + struct.pack(">II", width, height) + data[24:])
    if data.startswith(b"\xff\xd8"):
        frame = next((data.find(m) for m in (b"\xff\xc0", b"\xff\xc2") if m in data), -1)
        size = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
        return data[: frame + 5] + size + data[frame + 9 :] if frame > 0 else data
    return data[:24] + struct.pack("<HH", width & 0xFFFF, height & 0xFFFF) * 2 + data[32:]


def other_depth_or_colour(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A PNG that claims another bit depth, colour type or interlacing; others get a foreign component count."""
    if data.startswith(PNG_MAGIC):
        fields = bytes(rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)) for _ in range(5))
        return with_checksums(data[:24] + fields + data[29:])
    return header_bytes_replaced(data, other, rng)


def foreign_in_front(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return rng.choice(FOREIGN) + data


def foreign_behind(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A polyglot: a sound picture, and something else."""
    return data + rng.choice(FOREIGN) * rng.choice((1, 100))


def foreign_magic(data: bytes, other: bytes, rng: random.Random) -> bytes:
    magic = rng.choice((b"\xff\xd8\xff", PNG_MAGIC, b"RIFF\xff\xff\xff\xffWEBP", *FOREIGN))
    return magic + data[len(magic) :]


def noise_behind_magic(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice((3, 8, 12, 33))] + rng.randbytes(rng.randrange(2000))


def untouched(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        *(truncated, bits_flipped, bits_flipped_with_good_checksums, header_bytes_replaced, block_removed),
        *(block_repeated, block_of_one_value, spliced, parts_shuffled, part_dropped_or_doubled, lying_length),
        *(metadata_inserted, lying_dimensions, other_depth_or_colour, foreign_in_front, foreign_behind, foreign_magic),
        *(noise_behind_magic, untouched),
    )
}


def mutants(seeds: Sequence[bytes], *, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` files by the name of their mutation; a third of them is mutated twice."""
    rng = random.Random(seed)
    names = sorted(MUTATIONS)
    for i in range(count):
        name = names[i % len(names)]
        data = MUTATIONS[name](rng.choice(seeds), rng.choice(seeds), rng)
        if data and rng.random() < 1 / 3:
            data = MUTATIONS[rng.choice(names)](data, rng.choice(seeds), rng)
        yield name, data


def _block(data: bytes, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(len(data)), rng.choice((1, 2, 8, 64, 512))


def _parts(data: bytes) -> tuple[bytes, list[bytes]]:
    """What stands before the parts, and the parts, of a file of any kind; at least one part."""
    if data.startswith(PNG_MAGIC):
        return PNG_MAGIC, [part for _, part in chunks(data)] or [data[8:]]
    if data.startswith(b"RIFF"):
        return data[:12], _riff(data)
    cuts = [i for i in range(2, len(data) - 1) if data[i] == 0xFF and data[i + 1] >= 0xC0][:200]
    return data[:2], [data[a:b] for a, b in zip(cuts, [*cuts[1:], len(data)], strict=False)] or [data[2:]]


def _riff(data: bytes) -> list[bytes]:
    parts, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        parts.append(data[at:end])
        at = end
    return parts or [data[12:]]
