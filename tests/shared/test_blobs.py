"""Blobs: whole or not there at all, and what they were when they were stored."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.blobs import BlobStore
from shared.errors import StorageFailed


def files(blobs: BlobStore) -> list[Path]:
    return sorted(path for path in blobs.folder.rglob("*") if path.is_file())


def path_of(blobs: BlobStore, ref: str) -> Path:
    (path,) = blobs.folder.rglob(ref)
    return path


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000], ids=["empty", "one byte", "many bytes"])
@pytest.mark.parametrize("durable", [False, True])
def test_a_blob_reads_back_as_it_was_and_is_called_by_its_hash(tmp_path: Path, data: bytes, durable: bool) -> None:
    blobs = BlobStore(tmp_path / "blobs", durable=durable)
    ref = blobs.put(data)
    assert ref == hashlib.sha256(data).hexdigest()
    assert blobs.get(ref) == data


def test_the_same_bytes_are_stored_once(blobs: BlobStore) -> None:
    assert blobs.put(b"one") == blobs.put(b"one") != blobs.put(b"two")
    assert len(files(blobs)) == 2


def test_many_writers_of_one_blob_do_not_disturb_each_other(blobs: BlobStore) -> None:
    data = bytes(100_000)
    with ThreadPoolExecutor(16) as pool:
        refs = set(pool.map(lambda _: blobs.put(data), range(64)))
    (ref,) = refs
    assert blobs.get(ref) == data
    assert len(files(blobs)) == 1


def test_a_missing_blob_is_said_to_be_unreadable_without_naming_its_place(blobs: BlobStore) -> None:
    with pytest.raises(StorageFailed, match="^a stored file cannot be read: No such file or directory$"):
        blobs.get("0" * 64)


@pytest.mark.parametrize("damaged", [b"", b"another", b"one with more behind"], ids=["empty", "other", "longer"])
def test_a_damaged_blob_is_refused_and_can_be_stored_anew(blobs: BlobStore, damaged: bytes) -> None:
    ref = blobs.put(b"one")
    path_of(blobs, ref).write_bytes(damaged)
    with pytest.raises(StorageFailed, match="^a stored file is damaged$"):
        blobs.get(ref)
    assert blobs.put(b"one") == ref
    assert blobs.get(ref) == b"one"


@pytest.mark.parametrize(
    "ref", ["", "x", "../" * 3 + "etc/passwd", "0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "/" + "0" * 63]
)
def test_nothing_but_a_hash_is_a_reference(blobs: BlobStore, ref: str) -> None:
    for use in (blobs.get, blobs.discard):
        with pytest.raises(StorageFailed, match="^not a blob reference$"):
            use(ref)


def no_room(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["os.fsync", "os.replace", "tempfile.mkstemp"])
def test_a_failed_write_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    blobs = BlobStore(tmp_path / "blobs", durable=True)
    monkeypatch.setattr(step, no_room)
    with pytest.raises(StorageFailed, match="^a file could not be stored: No space left on device$"):
        blobs.put(b"one")
    assert files(blobs) == []


def test_an_interrupted_write_leaves_no_file_behind(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        blobs.put(b"one")
    assert files(blobs) == []


def test_a_folder_that_cannot_be_one_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StorageFailed, match="^a file could not be stored: Not a directory$"):
        BlobStore(tmp_path / "blobs").put(b"one")


def test_a_durable_blob_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noted(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: object) -> None:
            done.append(name)
            real(*args)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    BlobStore(tmp_path / "quick").put(b"one")
    assert done == ["replace"]
    done.clear()
    BlobStore(tmp_path / "durable", durable=True).put(b"one")
    assert done == ["fsync", "replace", "fsync"]


def test_a_discarded_blob_is_gone_and_may_be_discarded_again(blobs: BlobStore) -> None:
    ref = blobs.put(b"one")
    blobs.discard(ref)
    blobs.discard(ref)
    assert files(blobs) == []


def test_what_nobody_wanted_for_long_is_listed_and_abandoned_parts_are_removed(blobs: BlobStore) -> None:
    old, new, wanted = blobs.put(b"old"), blobs.put(b"new"), blobs.put(b"wanted")
    abandoned = path_of(blobs, old).with_name(".partial-abandoned")
    under_way = path_of(blobs, old).with_name(".partial-under-way")
    long_ago = time.time() - 1000
    for path in (abandoned, under_way):
        path.write_bytes(b"half")
    for path in (abandoned, path_of(blobs, old), path_of(blobs, wanted)):
        os.utime(path, (long_ago, long_ago))
    blobs.put(b"wanted")
    assert list(blobs.untouched_for(500)) == [old]
    assert not abandoned.exists()
    assert under_way.exists()
    assert sorted(blobs.untouched_for(-1)) == sorted([old, new, wanted])


def test_an_empty_store_has_nothing_to_list_and_knows_its_room(blobs: BlobStore) -> None:
    assert list(blobs.untouched_for(0)) == []
    assert blobs.free_bytes() > 0


def test_references_are_spread_over_folders(blobs: BlobStore) -> None:
    refs = [blobs.put(str(i).encode()) for i in range(50)]
    assert {path.parent.name for path in files(blobs)} == {ref[:2] for ref in refs}
    assert all(re.fullmatch("[0-9a-f]{64}", ref) for ref in refs)
