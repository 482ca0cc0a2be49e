"""`pathlight gc`: what no job names goes, what one names stays, and nothing goes by mistake."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from shared.batches import Member
from shared.blobs import BlobStore
from shared.jobs import ImageRecord, JobOptions
from shared.settings import Settings
from shared.store import JobStore
from tests.shared.submissions import submission


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
