"""Blobs: whole or not there at all, and what they were when they were stored."""

from __future__ import annotations

import hashlib
import os
import random
import re
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from shared.blobs.blob_store import ASKED_AT_ONCE, BlobStore, Named, Swept, ref_of
from shared.errors import AlreadyRunning, StorageFailed, StoreUnavailable


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


LONG_AGO = 1000.0


def nobody(refs: Sequence[str]) -> set[str]:
    """No job names any of them."""
    return set()


def put_long_ago(blobs: BlobStore, data: bytes) -> str:
    ref = blobs.put(data)
    make_old(path_of(blobs, ref))
    return ref


def make_old(path: Path) -> None:
    then = time.time() - LONG_AGO
    os.utime(path, (then, then))


def test_a_sweep_removes_what_nobody_wants_and_what_was_never_finished(blobs: BlobStore) -> None:
    old, wanted, named = (put_long_ago(blobs, data) for data in (b"old", b"wanted", b"named"))
    new = blobs.put(b"new")
    abandoned = path_of(blobs, old).with_name(".partial-abandoned")
    under_way = path_of(blobs, old).with_name(".partial-under-way")
    for path in (abandoned, under_way):
        path.write_bytes(b"half")
    make_old(abandoned)
    blobs.put(b"wanted")
    would = blobs.sweep(lambda refs: {named} & set(refs), older_than=500, dry_run=True)
    assert would == Swept(2, len(b"old") + len(b"half"))
    assert path_of(blobs, old).exists() and abandoned.exists(), "nothing has happened yet"
    assert blobs.sweep(lambda refs: {named} & set(refs), older_than=500) == would
    left = {path.name for path in files(blobs)}
    assert left == {new, wanted, named, under_way.name, ".sweep"}
    assert blobs.sweep(nobody, older_than=-1).files == 4


def test_a_blob_that_is_stored_again_while_a_sweep_asks_about_it_stays(blobs: BlobStore) -> None:
    ref = put_long_ago(blobs, b"one")

    def asked(refs: Sequence[str]) -> set[str]:
        assert list(refs) == [ref]
        blobs.put(b"one")
        return set()

    assert blobs.sweep(asked, older_than=500) == Swept()
    assert blobs.get(ref) == b"one"


def test_a_blob_that_is_stored_or_read_while_it_is_taken_aside_is_there(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = put_long_ago(blobs, b"one")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        real(source, target)
        if source.name == ref:
            assert blobs.get(ref) == b"one", "a reader finds it in its other place"
            blobs.put(b"one")

    monkeypatch.setattr(os, "rename", rename)
    assert blobs.sweep(nobody, older_than=500) == Swept(1, 3), "the old file goes, the new one stays"
    assert blobs.get(ref) == b"one"


def test_a_mark_that_came_too_late_for_the_sweep_is_noticed_by_who_made_it(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = put_long_ago(blobs, b"one")
    real = os.utime

    def utime(path: Path, times: tuple[float, float] | None = None) -> None:
        monkeypatch.setattr(os, "utime", real)
        file = os.open(path, os.O_RDONLY)  # the kernel has found the file, and the sweep comes first
        assert blobs.sweep(nobody, older_than=500).files == 1
        real(file, times)
        os.close(file)

    monkeypatch.setattr(os, "utime", utime)
    blobs.put(b"one")
    assert blobs.get(ref) == b"one"


def test_what_a_sweep_that_died_left_aside_comes_back(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = put_long_ago(blobs, b"one")

    def die(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", die)
        blobs.sweep(nobody, older_than=500)
    assert not (blobs.folder / ref[:2] / ref).exists()
    assert blobs.get(ref) == b"one"
    for _ in range(2):  # and counts as wanted from then on
        assert blobs.sweep(nobody, older_than=500) == Swept()
        assert (blobs.folder / ref[:2] / ref).exists()
    make_old(path_of(blobs, ref))
    assert blobs.sweep(nobody, older_than=500).files == 1


def test_writers_readers_and_sweeps_at_once_never_miss_a_blob(blobs: BlobStore) -> None:
    until = time.monotonic() + 1
    refs = [blobs.put(bytes([number])) for number in range(8)]

    def write(number: int) -> int:
        missed = 0
        while time.monotonic() < until:
            blobs.put(bytes([number]))
            missed += blobs.get(refs[number]) != bytes([number])
            with suppress(FileNotFoundError):
                make_old(blobs.folder / refs[number][:2] / refs[number])
        return missed

    def sweep(_: int) -> int:
        freed = Swept()
        while time.monotonic() < until:
            with suppress(AlreadyRunning):
                freed += blobs.sweep(nobody, older_than=500)
        return freed.files

    with ThreadPoolExecutor(10) as pool:
        swept, missed = pool.map(sweep, range(2)), pool.map(write, range(8))
        assert list(missed) == [0] * 8
        assert sum(swept) > 0, "the sweeps had something to take"


# -- what a refused request has stored ---------------------------------------------------------------------------------


class Refused(Exception):
    """By the job store."""


def refuse(blobs: BlobStore, *parts: bytes, named: Named = nobody, meanwhile: Callable[[], object] = list) -> None:
    with pytest.raises(Refused), blobs.provisional(named) as stored:
        for part in parts:
            stored.put(part)
        meanwhile()
        raise Refused


def blobs_of(blobs: BlobStore) -> list[str]:
    return sorted(path.name for path in blobs.folder.glob("??/*"))


def test_what_a_refused_request_has_made_goes_at_once_and_nothing_else(blobs: BlobStore) -> None:
    known, old = blobs.put(b"known"), put_long_ago(blobs, b"old")
    refuse(blobs, b"one", b"known", b"one", b"old", b"two")
    assert blobs_of(blobs) == sorted([known, old])
    with blobs.provisional(nobody) as stored:
        accepted = stored.put(b"one")
    assert blobs_of(blobs) == sorted([known, old, accepted])


def test_what_another_request_has_stored_meanwhile_stays(blobs: BlobStore) -> None:
    def another() -> None:
        with blobs.provisional(nobody) as stored:
            stored.put(b"one")
            refuse(blobs, b"one")

    refuse(blobs, b"one", named=lambda refs: {ref_of(b"one")}, meanwhile=another)
    assert blobs_of(blobs) == [ref_of(b"one")]
    refuse(blobs, b"one")
    assert blobs_of(blobs) == [ref_of(b"one")], "nor does a later refusal take it"


@pytest.mark.parametrize("first", [True, False])
def test_of_two_who_store_the_same_at_once_neither_loses_it_by_the_others_refusal(
    blobs: BlobStore, first: bool
) -> None:
    with blobs.provisional(nobody) as accepted:
        if first:
            accepted.put(b"one")
        refuse(blobs, b"one", meanwhile=lambda: accepted.put(b"one"))
        assert blobs_of(blobs) == [ref_of(b"one")]
    refuse(blobs, b"two")
    assert blobs_of(blobs) == [ref_of(b"one")], "nor by one that comes later"


def test_who_wants_a_file_that_is_being_removed_writes_it_anew(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = BlobStore._wanted

    def wanted(self: BlobStore) -> set[str]:
        found = real(self)
        blobs.put(b"one")  # by one whose list was not there yet
        return found

    monkeypatch.setattr(BlobStore, "_wanted", wanted)
    refuse(blobs, b"one")
    assert blobs.get(ref_of(b"one")) == b"one"


def test_one_who_leaves_the_lists_just_then_has_had_a_job_name_its_file(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: set[str] = set()
    with ExitStack() as other:
        stored = other.enter_context(blobs.provisional(nobody))
        ref = stored.put(b"one")
        real = BlobStore._wanted

        def wanted(self: BlobStore) -> set[str]:
            named.add(ref)
            other.close()
            return real(self)

        monkeypatch.setattr(BlobStore, "_wanted", wanted)
        assert blobs.remove([ref], lambda refs: named & set(refs)) == Swept()
    assert blobs.get(ref) == b"one"


def test_what_a_job_names_stays_though_its_request_has_failed(blobs: BlobStore) -> None:
    refuse(blobs, b"one", b"two", named=lambda refs: {ref_of(b"one")} & set(refs))
    assert blobs_of(blobs) == [ref_of(b"one")]


def test_what_was_marked_anew_goes_as_well(blobs: BlobStore) -> None:
    with pytest.raises(Refused), blobs.provisional(nobody) as stored:
        assert stored.keep(stored.put(b"one"))
        assert not stored.keep(ref_of(b"two"))
        raise Refused
    assert blobs_of(blobs) == []


def test_while_redis_does_not_answer_files_wait_for_the_next_request(blobs: BlobStore) -> None:
    def away(refs: Sequence[str]) -> set[str]:
        raise StoreUnavailable("Redis does not answer")

    refuse(blobs, b"one", named=away)
    refuse(blobs, b"two", named=away)
    assert blobs_of(blobs) == sorted([ref_of(b"one"), ref_of(b"two")])
    with blobs.provisional(lambda refs: {ref_of(b"two")} & set(refs)) as stored:
        stored.put(b"three")
    assert blobs_of(blobs) == sorted([ref_of(b"two"), ref_of(b"three")])


def test_where_the_disk_takes_no_list_the_file_is_refused_and_nothing_stays(blobs: BlobStore) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(StorageFailed), blobs.provisional(nobody) as stored:
            stored.put(b"one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert blobs_of(blobs) == [] and not list(blobs.folder.glob(".wanted/*"))


def test_while_a_backup_is_at_work_files_wait_for_the_next_removal(blobs: BlobStore) -> None:
    one, two = blobs.put(b"one"), blobs.put(b"two")
    with blobs.unswept():
        assert blobs.remove([one], nobody) == Swept()
    assert blobs_of(blobs) == sorted([one, two])
    assert blobs.remove([two], nobody) == Swept(2, 6)
    assert blobs_of(blobs) == []


def test_many_are_removed_and_a_sweep_waits_for_that(blobs: BlobStore) -> None:
    refs = [blobs.put(bytes([i % 256, i // 256])) for i in range(ASKED_AT_ONCE + 10)]
    sweeps: list[Future[Swept]] = []
    with ThreadPoolExecutor(1) as thread:

        def named(asked: Sequence[str]) -> set[str]:
            sweeps.append(thread.submit(blobs.sweep, nobody, older_than=500))
            time.sleep(0.05)
            assert not sweeps[-1].done()
            return {refs[0]} & set(asked)

        assert blobs.remove(refs, named).files == len(refs) - 1
        assert [one.result() for one in sweeps] == [Swept()] * 2
    assert blobs_of(blobs) == [refs[0]]


def test_the_list_of_a_request_goes_with_it_and_that_of_a_dead_one_with_a_sweep(blobs: BlobStore) -> None:
    with blobs.provisional(nobody) as stored:
        stored.put(b"one")
        (path,) = blobs.folder.glob(".wanted/*")
    assert not path.exists()
    path.write_text(ref_of(b"one"))
    assert blobs.remove([ref_of(b"one")], nobody) == Swept()
    blobs.sweep(nobody, older_than=500)
    assert path.exists()
    os.utime(path, (1, 1))
    blobs.sweep(nobody, older_than=500)
    assert not path.exists()


def test_requests_refused_and_accepted_readers_and_sweeps_at_once_never_miss_a_blob(blobs: BlobStore) -> None:
    until = time.monotonic() + 2
    data = [bytes([number]) for number in range(3)]
    counts: Counter[str] = Counter()  # as the job store has them
    changing = threading.Lock()

    def named(refs: Sequence[str]) -> set[str]:
        with changing:
            return {ref for ref in refs if counts[ref]}

    def ask(number: int) -> int:
        """One request after the other; how many of the accepted ones missed their file."""
        chance, missed = random.Random(number), 0
        while time.monotonic() < until:
            one = chance.choice(data)
            with suppress(Refused), blobs.provisional(named) as stored:
                ref = stored.put(one)
                if chance.random() < 0.5:
                    raise Refused
                with changing:
                    counts[ref] += 1
                try:
                    missed += blobs.get(ref) != one
                except StorageFailed:
                    missed += 1
                with changing:
                    counts[ref] -= 1
                if chance.random() < 0.5:
                    blobs.remove([ref], named)  # as for a job that is deleted
        return missed

    def sweep(_: int) -> int:
        while time.monotonic() < until:
            with suppress(AlreadyRunning):
                blobs.sweep(named, older_than=500)
        return 0

    with ThreadPoolExecutor(8) as pool:
        sweeps, missed = pool.map(sweep, range(1)), pool.map(ask, range(7))
        assert list(missed) == [0] * 7 and list(sweeps) == [0]


def test_one_sweep_at_a_time(blobs: BlobStore) -> None:
    with blobs.unswept(), pytest.raises(AlreadyRunning, match="swept or backed up just now"):
        blobs.sweep(nobody, older_than=0)
    assert blobs.sweep(nobody, older_than=0) == Swept()


def test_a_blob_can_be_kept_as_long_as_it_is_there(blobs: BlobStore) -> None:
    ref = put_long_ago(blobs, b"one")
    assert blobs.keep(ref)
    assert blobs.sweep(nobody, older_than=500) == Swept()
    blobs.discard(ref)
    assert not blobs.keep(ref)


def test_an_empty_store_knows_its_room(blobs: BlobStore) -> None:
    assert blobs.free_bytes() > 0


def test_references_are_spread_over_folders(blobs: BlobStore) -> None:
    refs = [blobs.put(str(i).encode()) for i in range(50)]
    assert {path.parent.name for path in files(blobs)} == {ref[:2] for ref in refs}
    assert all(re.fullmatch("[0-9a-f]{64}", ref) for ref in refs)
