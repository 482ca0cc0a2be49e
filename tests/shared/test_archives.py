"""Archives of pictures: what is read of good ones, and how bad ones are answered."""

from __future__ import annotations

import gzip
import io
import random
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable

import pytest

from shared.errors import BatchTooLarge, InvalidArchive
from shared.images.archives import (
    UNPACKED_AT_LEAST,
    UNPACKED_PER_BYTE,
    Bounds,
    Entry,
    is_archive,
    read_archive,
    shown_name,
)

BOUNDS = Bounds(members=5, image_bytes=20_000, total_bytes=60_000)
FILES = {"cats/1.jpg": b"one", "cats/2.jpg": b"two", "dog.png": b"three"}
Pack = Callable[[dict[str, bytes]], bytes]


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def gzipped(files: dict[str, bytes]) -> bytes:
    return gzip.compress(tarred(files))


PACKS = [pytest.param(pack, id=pack.__name__) for pack in (zipped, tarred, gzipped)]


def read(data: bytes, bounds: Bounds = BOUNDS) -> list[Entry]:
    return list(read_archive(io.BytesIO(data), bounds))


@pytest.mark.parametrize("pack", PACKS)
def test_the_files_of_an_archive_come_in_its_order(pack: Pack) -> None:
    data = pack(FILES)
    assert is_archive(data[:262])
    assert read(data) == [Entry(name, content) for name, content in FILES.items()]


@pytest.mark.parametrize("pack", PACKS)
def test_folders_hidden_files_and_leftovers_of_file_managers_are_passed_over(pack: Pack) -> None:
    clutter = {"__MACOSX/._a.jpg": b"x", "b/.DS_Store": b"x", "Thumbs.db": b"x"}
    assert [entry.name for entry in read(pack({**clutter, "a.jpg": b"y"}))] == ["a.jpg"]


@pytest.mark.parametrize("pack", PACKS)
def test_a_name_that_climbs_out_of_its_folder_is_only_shown(pack: Pack) -> None:
    (entry,) = read(pack({"../../etc/passwd": b"x"}))
    assert entry.name == "etc/passwd"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/abs/path.jpg", "abs/path.jpg"),
        ("a\\..\\b.jpg", "a/b.jpg"),
        ("..", "picture"),
        ("line\nbreak\x1b[31m.jpg", "linebreak[31m.jpg"),
        ("x" * 500 + ".jpg", "x" * 116 + ".jpg"),
    ],
)
def test_names_are_made_fit_to_be_shown(name: str, shown: str) -> None:
    assert shown_name(name) == shown


def test_links_are_faulty_entries() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo("a.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [entry.fault for entry in read(buffer.getvalue())] == ["the file is a link, not a picture"] * 2
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive2:
        link = zipfile.ZipInfo("a.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive2.writestr(link, "/etc/passwd")
    assert read(buffer.getvalue()) == [Entry("a.jpg", b"", "the file is a link, not a picture")]


@pytest.mark.parametrize("pack", PACKS)
def test_a_file_that_is_too_large_is_a_faulty_entry(pack: Pack) -> None:
    large, small = read(pack({"bomb.jpg": bytes(21_000), "a.jpg": b"x"}))
    assert large == Entry("bomb.jpg", b"", "the file has more than 20000 bytes")
    assert small.data == b"x"


def test_a_file_that_lies_about_its_size_is_read_no_further_than_a_picture_may_reach() -> None:
    data = bytearray(zipped({"a.jpg": bytes(100_000)}))
    for at in (data.rindex(b"PK\x01\x02") + 24, data.index(b"PK\x03\x04") + 22):
        data[at : at + 4] = struct.pack("<I", 10)
    (entry,) = read(bytes(data))
    assert len(entry.data) <= 20_000


def test_a_file_damaged_alone_is_a_faulty_entry() -> None:
    data = zipped(FILES, method=zipfile.ZIP_STORED).replace(b"two", b"TWO", 1)
    assert [entry.fault for entry in read(data)] == ["", "the file is damaged in the archive", ""]


def test_methods_that_may_take_any_memory_are_not_unpacked() -> None:
    (entry,) = read(zipped({"a.jpg": b"x" * 100}, method=zipfile.ZIP_LZMA))
    assert "use deflate" in entry.fault


def test_an_archive_in_an_archive_is_just_a_file() -> None:
    (entry,) = read(zipped({"inner.zip": zipped(FILES)}))
    assert entry.data.startswith(b"PK")


@pytest.mark.parametrize("pack", PACKS)
def test_more_files_than_a_batch_may_have_are_refused(pack: Pack) -> None:
    with pytest.raises(BatchTooLarge, match="more than 5 pictures"):
        read(pack({f"{i}.jpg": b"x" for i in range(6)}))


@pytest.mark.parametrize("pack", PACKS)
def test_more_bytes_unpacked_than_a_batch_may_have_are_refused(pack: Pack) -> None:
    with pytest.raises(BatchTooLarge, match="more than 60000 bytes unpacked"):
        read(pack({f"{i}.jpg": bytes(18_000) for i in range(4)}))


def test_ten_thousand_folders_are_refused() -> None:
    with pytest.raises(BatchTooLarge):
        read(zipped({f"{i}/": b"" for i in range(10_000)}))


def test_zeros_are_an_archive_of_nothing() -> None:
    assert read(gzip.compress(bytes(50_000_000)), Bounds(5, 1000, 1_000_000)) == []


@pytest.mark.parametrize("pack", PACKS)
def test_a_picture_as_large_as_may_be_is_read_whole(pack: Pack) -> None:
    limit = Bounds(5, 10 * 1024 * 1024, 2**31)
    data = random.Random(0).randbytes(limit.image_bytes)
    assert read(pack({"a.jpg": data}), limit) == [Entry("a.jpg", data)]
    (too_large,) = read(pack({"a.jpg": data + b"x"}), limit)
    assert too_large.fault == "the file has more than 10485760 bytes"


@pytest.mark.parametrize("pack", PACKS)
def test_what_an_entry_claims_counts_though_it_is_not_read(pack: Pack) -> None:
    with pytest.raises(BatchTooLarge, match="more than 1000000 bytes unpacked"):
        read(pack({"a.jpg": bytes(600_000), "b.jpg": bytes(600_000)}), Bounds(5, 1000, 1_000_000))


@pytest.mark.parametrize("pack", [zipped, gzipped])
def test_an_archive_unpacks_to_a_few_times_its_own_size_at_most(pack: Pack) -> None:
    data = pack({f"{i}.jpg": bytes(20_000_000) for i in range(5)})
    allowed = UNPACKED_AT_LEAST + UNPACKED_PER_BYTE * len(data)
    with pytest.raises(BatchTooLarge, match=f"more than {allowed} bytes unpacked"):
        read(data, Bounds(5, 20_000_000, 2**31))


def sparse(size: int, *, holes: int) -> bytes:
    """A file of GNU tar's that is a hole all over: 512 bytes in an archive, any number in memory."""
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[386:398], head[398:410] = b"%011o\0" % size, b"%011o\0" % 0
    head[483:495] = b"%011o\0" % size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) * holes + bytes(1024)


def test_a_file_with_holes_is_a_faulty_entry_that_costs_nothing() -> None:
    began = time.process_time()
    entries = read(sparse(10 * 1024 * 1024, holes=200), Bounds(300, 10 * 1024 * 1024, 2**31))
    assert [entry.fault for entry in entries] == ["the file is stored with holes, as no picture needs to be"] * 200
    assert time.process_time() - began < 1
    packed = gzip.compress(sparse(10 * 1024 * 1024, holes=200))
    assert read(packed, Bounds(300, 10 * 1024 * 1024, 2**31)) == entries


def test_what_is_neither_file_nor_link_is_a_faulty_entry() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type = tarfile.FIFOTYPE
        archive.addfile(info)
    assert [entry.fault for entry in read(buffer.getvalue())] == ["the entry is no file"]


def test_a_header_that_would_take_any_memory_is_refused() -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 20_000_000
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(20_000_000)
    with pytest.raises((BatchTooLarge, InvalidArchive)):
        read(data, Bounds(5, 1000, 30_000_000))


def test_an_encrypted_archive_is_refused_as_such() -> None:
    data = bytearray(zipped(FILES))
    for magic, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(magic) + flags] |= 1
    with pytest.raises(InvalidArchive, match="encrypted"):
        read(bytes(data))


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_refused(pack: Pack, share: float) -> None:
    rng = random.Random(0)
    data = pack({f"{i}.jpg": rng.randbytes(9000) for i in range(3)})
    with pytest.raises(InvalidArchive, match="damaged or incomplete"):
        read(data[: int(27_000 * share)])


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(InvalidArchive, match="not a .zip, .tar or .tar.gz"):
        read(b"GIF89a" + bytes(1000))
