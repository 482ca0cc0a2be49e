"""`pathlight gc`: what no job names goes, what one names stays, and nothing goes by mistake."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import embedded
from cli.main import main
from shared.blobs.blob_store import BlobStore
from shared.errors import StoreUnavailable, UnknownJob
from shared.jobs import ImageRecord, JobError, JobOptions
from shared.settings import Settings
from shared.store.batches import Member
from shared.store.connection import connect
from shared.store.job_store import JobStore
from shared.store.keys import Scope
from tests.conftest import _answers, wait_for
from tests.shared.submissions import assert_counts_add_up, submission


@pytest.fixture
def runner(settings: Settings) -> CliRunner:
    return CliRunner(env=settings.to_environment())


def make_all_old(blobs: BlobStore) -> None:
    then = time.time() - 2 * 3600
    for path in blobs.folder.rglob("*"):
        os.utime(path, (then, then))


def stored(blobs: BlobStore) -> set[str]:
    return {path.name for path in blobs.folder.glob("??/*")}


def test_files_of_jobs_and_batches_stay_and_the_others_go(
    runner: CliRunner, store: JobStore, blobs: BlobStore, settings: Settings
) -> None:
    waiting, done, member, result = (blobs.put(data) for data in (b"waiting", b"done", b"member", b"result"))
    store.submit(submission(image=done, key="a key"))
    (claim,) = store.claim(1, claim_id=secrets.token_hex(8))
    assert store.succeed(claim, result, compute_ms=1.0)
    store.submit(submission(image=waiting))
    store.batches.submit([Member(ImageRecord(member, 8, 6, "PNG", "a.png"))], JobOptions(("m",)))
    blobs.put(b"abandoned" * 1_000_000)
    make_all_old(blobs)
    recent = blobs.put(b"whose job may be coming")
    assert "would remove 1 files that no job names, 9.0 MB" in runner.invoke(main, ["gc", "--dry-run"]).output
    assert len(stored(blobs)) == 6
    assert "removed 1 files that no job names, 9.0 MB" in runner.invoke(main, ["gc"]).output
    assert stored(blobs) == {waiting, done, member, result, recent}
    assert "removed 0 files" in runner.invoke(main, ["gc"]).output


def test_a_store_that_never_had_a_job_is_taken_for_the_wrong_one(
    runner: CliRunner, store: JobStore, blobs: BlobStore
) -> None:
    assert "removed 0 files" in runner.invoke(main, ["gc"]).output
    ref = blobs.put(b"of another store's job")
    make_all_old(blobs)
    done = runner.invoke(main, ["gc"])
    assert done.exit_code == 1 and "check REDIS_URL and PATHLIGHT_HOME" in " ".join(done.output.split())
    assert stored(blobs) == {ref}


def test_beside_a_backup_it_waits_for_another_time(runner: CliRunner, store: JobStore, blobs: BlobStore) -> None:
    with blobs.unswept():
        done = runner.invoke(main, ["gc"])
    assert done.exit_code == 1 and "try again in a minute" in done.output


def test_without_redis_nothing_goes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    blobs = BlobStore(settings.blobs)
    ref = blobs.put(b"one")
    make_all_old(blobs)
    done = CliRunner(env=settings.to_environment()).invoke(main, ["gc"])
    assert done.exit_code == 1 and "Redis does not answer" in done.output
    assert stored(blobs) == {ref}


# -- one owner ---------------------------------------------------------------------------------------------------------


def owned(store: JobStore, blobs: BlobStore, owner: str, shade: str, *, ended: bool) -> str:
    """A job of an owner, with its picture and, where it has ended, its result."""
    job_id = store.submit(submission(image=blobs.put(f"{owner} {shade}".encode()), owner=owner))
    if ended:
        (claim,) = store.claim(1, claim_id=secrets.token_hex(8))
        assert store.succeed(claim, blobs.put(f"result of {owner} {shade}".encode()), compute_ms=1.0)
    return job_id


def known(store: JobStore, job_id: str) -> bool:
    try:
        store.get(job_id)
    except UnknownJob:
        return False
    return True


def batch_of(store: JobStore, blobs: BlobStore, owner: str, count: int) -> str:
    """One whose members fail at once."""
    error = JobError("invalid_image", "no picture")
    members = [Member(ImageRecord("0" * 64, 0, 0, "", f"{place}.png"), error=error) for place in range(count)]
    return store.batches.submit(members, JobOptions(("m",)), owner=owner)


@pytest.mark.parametrize("named", ["by name", "by id", "revoked"])
def test_all_that_has_ended_of_one_owner_goes_at_once_with_its_files(
    runner: CliRunner, store: JobStore, blobs: BlobStore, named: str
) -> None:
    key, _ = store.keys.create("shop", [Scope.SUBMIT])
    other, _ = store.keys.create("other", [Scope.SUBMIT])
    theirs = owned(store, blobs, other.id, "1", ended=True)
    gone = [owned(store, blobs, key.id, shade, ended=True) for shade in ("1", "2")]
    waiting = owned(store, blobs, key.id, "3", ended=False)
    batch = batch_of(store, blobs, key.id, 1500)
    others_batch = batch_of(store, blobs, other.id, 2)
    if named == "revoked":
        store.keys.revoke("shop")
    word = "shop" if named == "by name" else key.id
    make_all_old(blobs)
    done = runner.invoke(main, ["gc", "--owner", word, "--dry-run"])
    assert f"would forget 1502 ended jobs of {word}" in done.output, done.output
    assert all(known(store, job_id) for job_id in gone) and len(stored(blobs)) == 7
    done = runner.invoke(main, ["gc", "--owner", word])
    assert f"forgot 1502 ended jobs of {word}" in done.output and "removed 4 files" in done.output, done.output
    assert not any(known(store, job_id) for job_id in gone)
    assert known(store, waiting) and known(store, theirs) and len(stored(blobs)) == 3
    with pytest.raises(UnknownJob):
        store.batches.get(batch)
    assert store.batches.get(others_batch).total == 2
    assert_counts_add_up(store)
    assert "forgot 0 ended jobs" in runner.invoke(main, ["gc", "--owner", word]).output


def test_an_owner_that_there_is_not_is_said(runner: CliRunner, store: JobStore) -> None:
    done = runner.invoke(main, ["gc", "--owner", "nobody"])
    assert done.exit_code == 1 and "there is no key named nobody" in " ".join(done.output.split())


def test_a_full_redis_has_room_again_when_an_owners_jobs_are_forgotten(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", redis_memory_bytes=3_000_000)
    settings.home.mkdir()
    server = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(settings), seconds=60)
        store, blobs, raw = JobStore.connect(settings), BlobStore(settings.blobs), connect(settings)
        key, _ = store.keys.create("shop", [Scope.SUBMIT])
        for _ in range(3):
            batch_of(store, blobs, key.id, 100)
        raw.eval("redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], string.rep('x', 3000000))", 1, "ballast")
        with pytest.raises(StoreUnavailable):
            store.submit(submission())
        before = raw.info("memory")["used_memory"]
        done = CliRunner(env=settings.to_environment()).invoke(main, ["gc", "--owner", "shop"])
        assert "forgot 300 ended jobs of shop" in done.output, done.output
        assert raw.info("memory")["used_memory"] < before - 100_000
    finally:
        server.kill()
        server.wait()
