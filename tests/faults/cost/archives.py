"""Archives that cost the most for their bytes."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Iterator

from tests.faults.cost import pictures

Make = pictures.Make
EMOJI = "\U0001f408"


def _zip(files: Iterator[tuple[str, bytes]], *, level: int = 9) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return made.getvalue()


def _packed(blocks: Iterator[bytes]) -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=6, mtime=0) as file:
        for block in blocks:
            file.write(block)
    return made.getvalue()


def _header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, more: dict[str, str] | None = None) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    info.pax_headers = more or {}
    return info.tobuf(tarfile.PAX_FORMAT)


_END = bytes(1024)


def of_zeros(rng: random.Random, amount: float) -> bytes:
    """A thousand times its size: files of ten megabytes, each as large as a picture may be."""
    return _zip((f"{number}-{rng.random()}.png", bytes(10 << 20)) for number in range(max(8, int(200 * amount))))


def overlapping(rng: random.Random, amount: float) -> bytes:
    """One packed file that thousands of entries of the list name."""
    packed = _zip(iter([("a.png", bytes(10 << 20))]))
    at = packed.rindex(b"PK\x01\x02")
    count = int(rng.randrange(8000, 9999) * amount)
    end = bytearray(packed[packed.rindex(b"PK\x05\x06") :])
    entry = packed[at : packed.rindex(b"PK\x05\x06")]
    end[8:12] = count.to_bytes(2, "little") * 2
    end[12:16] = (len(entry) * count).to_bytes(4, "little")
    return packed[:at] + entry * count + bytes(end)


def of_chunks(rng: random.Random, amount: float) -> bytes:
    """The picture with thousands of profiles, which is small once it is packed again."""
    return _zip((f"{number}.png", pictures.packed_profiles(rng, amount)) for number in range(2))


def empty_members(rng: random.Random, amount: float) -> bytes:
    """Many files without a byte, with names as long as any that is kept, in characters that take four bytes."""
    return _packed(_empty(rng, int(10_000 * amount)))


def _empty(rng: random.Random, count: int) -> Iterator[bytes]:
    first = rng.randrange(10**4)
    for number in range(count):
        yield _header(f"{first + number:08d}{EMOJI * 112}")
    yield _END


def sparse(rng: random.Random, amount: float) -> bytes:
    """Headers that each say: ten megabytes and a byte of nothing."""
    info = tarfile.TarInfo("a.png")
    info.size = 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    size = (10 << 20) + rng.randrange(2)
    block[386:410] = b"%011o\0%011o\0" % (size, 0)
    block[483:495] = b"%011o\0" % size
    block[257:265] = b"ustar  \0"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    return _packed(iter([bytes(block) * int(10_000 * amount), _END]))


def sparse_pax(rng: random.Random, amount: float) -> bytes:
    """The same in another notation, behind a longer header each."""
    fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str((10 << 20) + 1)}
    one = _header("a.png", 512, more=fields) + b"1\n0\n10485761\n".ljust(512, b"\0")
    return _packed(iter([one * int(rng.randrange(8000, 9999) * amount), _END]))


def size_claims(rng: random.Random, amount: float) -> bytes:
    """Each header claims gigabytes, of which nothing follows."""
    one = _header("a.png", rng.randrange(1 << 31, 1 << 32))
    return _packed(iter([one * int(10_000 * amount), _END]))


def zeros_behind_gzip(rng: random.Random, amount: float) -> bytes:
    """One header, and a gigabyte of zeros behind it that is one file, larger than a picture may be."""
    count = max(100, int(1024 * amount))
    blocks = (bytes(1 << 20) for _ in range(count))
    return _packed(_then(_header(f"{rng.random()}.png", count << 20), blocks))


def _then(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others
    yield _END


def folders(rng: random.Random, amount: float) -> bytes:
    """As many folders as are passed over, each with a header more for its long name."""
    count, name = int(29_000 * amount), f"{rng.random()}"
    return _packed(_then(b"", (_header(f"{name}{number:0200d}/", kind=tarfile.DIRTYPE) for number in range(count))))


def records(rng: random.Random, amount: float) -> bytes:
    """Headers of extended records that are as many and as short as they can be."""
    size = int((7 << 20) * amount)
    record = b"5 %c=\n" % rng.randrange(97, 123)
    body = record * (size // len(record))
    info = tarfile.TarInfo("x")
    info.size, info.type = len(body), tarfile.XHDTYPE
    one = info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)
    return _packed(iter([(one + _header("d", kind=tarfile.DIRTYPE)) * 6, _END]))


def nested(rng: random.Random, amount: float) -> bytes:
    data = of_zeros(rng, amount / 8)
    for number in range(int(40 * amount) + 2):
        data = _zip(iter([(f"{number}.zip", data)]))
    return data


def many_pictures(rng: random.Random, amount: float) -> bytes:
    """As many sound pictures as a batch may have, all of one kind and small."""
    return _zip(((f"{number}.png", pictures.small(rng)) for number in range(int(1000 * amount))), level=1)


ARCHIVES: dict[str, tuple[Make, set[int]]] = {
    "zip of zeros": (of_zeros, {413}),
    "zip whose entries overlap": (overlapping, {202, 400, 413}),
    "zip of PNGs with profiles": (of_chunks, {202}),
    "tar of empty files with long names": (empty_members, {202}),
    "tar with holes": (sparse, {202, 400, 413}),
    "tar with holes, pax": (sparse_pax, {202, 400, 413}),
    "tar of false sizes": (size_claims, {400, 413}),
    "tar.gz of zeros": (zeros_behind_gzip, {413}),
    "tar of folders": (folders, {400, 413}),
    "tar of header records": (records, {400, 413}),
    "zip in a zip in a zip": (nested, {202}),
    "zip of small pictures": (many_pictures, {202}),
}
