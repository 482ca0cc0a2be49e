"""Backup and restore: what had ended is answered as before, what was waiting runs, and nothing is taken for a backup
that is none."""

from __future__ import annotations

import io
import json
import os
import shlex
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli import backup, embedded
from cli.main import main
from shared.blobs.blob_store import BlobStore
from shared.images.sandbox.decoders import Decoders
from shared.jobs import ImageRecord, JobOptions, JobStatus
from shared.settings import Settings
from shared.store.batches import Member
from shared.store.job_store import JobStore, Submission
from shared.store.keys import Scope
from tests.conftest import _answers, encoded, wait_for
from tests.documented import commands_of
from tests.shared.submissions import assert_counts_add_up
from tests.worker.test_drain import cards_of, describe
from worker.queue.drain import Drain

Members = list[tuple[tarfile.TarInfo, bytes]]


@contextmanager
def redis_of(settings: Settings) -> Iterator[JobStore]:
    server = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(settings), seconds=10)
        yield JobStore.connect(settings)
    finally:
        server.kill()
        server.wait()


def run(settings: Settings, *words: str) -> Result:
    done = CliRunner(env=settings.to_environment()).invoke(main, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def submission(blobs: BlobStore, shade: int, *, key: str = "") -> Submission:
    image = ImageRecord(blobs.put(encoded(Image.new("RGB", (8, 8), (shade, 0, 0)))), 8, 8, "PNG", f"{shade}.png")
    return Submission(options=JobOptions(("m",)), image=image, idempotency_key=key, body_hash="b")


def drain(settings: Settings) -> int:
    store, blobs = JobStore.connect(settings), BlobStore(settings.blobs)
    with closing(Decoders(1)) as decoders:
        return Drain(
            store, blobs, settings, cards=cards_of, answer=describe, ring=lambda: None, decoders=decoders
        ).run()


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, home=tmp_path / "elsewhere")


@pytest.fixture
def saved(settings: Settings, store: JobStore, tmp_path: Path) -> Path:
    """A backup of one finished job."""
    store.submit(submission(BlobStore(settings.blobs), 1))
    assert drain(settings) == 1
    assert run(settings, "backup", str(tmp_path / "saved.tar")).exit_code == 0
    return tmp_path / "saved.tar"


def test_what_had_ended_is_answered_as_before_and_what_was_waiting_runs(
    settings: Settings, store: JobStore, elsewhere: Settings, tmp_path: Path
) -> None:
    blobs = BlobStore(settings.blobs)
    token = store.keys.create("laptop", [Scope.SUBMIT])[1]
    ended = [store.submit(submission(blobs, shade, key=f"k{shade}")) for shade in (1, 2)]
    assert drain(settings) == 2
    running = store.submit(submission(blobs, 3))
    assert [claim.id for claim in store.claim(1, claim_id="a worker")] == [running]
    waiting = store.submit(submission(blobs, 4))
    members = [Member(submission(blobs, shade).image) for shade in (5, 6)]
    batch = store.batches.submit(members, JobOptions(("m",)))
    (settings.home / "models.toml").write_text("# mine\n")
    (settings.registry / "mine").mkdir(parents=True)
    (settings.registry / "mine" / "card.json").write_text("{}")

    done = run(settings, "backup", str(tmp_path))
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.glob("pathlight-*.tar")
    assert "6 jobs, 8 files" in done.output and str(path) in done.output.replace("\n", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (settings.home / "redis" / "dump.rdb").exists()
    store.cancel(waiting)  # what happens later is not in it

    done = run(elsewhere, "restore", str(path))
    assert done.exit_code == 0 and "restored 6 jobs and 8 files" in done.output, done.output
    assert {one.name for one in elsewhere.home.iterdir()} == {"redis", "blobs", "registry", "models.toml", "lock"}
    with redis_of(elsewhere) as restored:
        for job_id in ended:
            before, after = store.get(job_id), restored.get(job_id)
            assert before == after and after.result_ref is not None
            assert BlobStore(elsewhere.blobs).get(after.result_ref) == blobs.get(after.result_ref)
        key = restored.keys.find(token)
        assert key is not None and key.name == "laptop"
        assert restored.submit(submission(blobs, 1, key="k1")) == ended[0]
        assert restored.get(waiting).status is JobStatus.QUEUED
        assert restored.get(running).status is JobStatus.RUNNING, "until its lease has run out"
        assert drain(elsewhere) == 3
        assert restored.get(waiting).status is JobStatus.SUCCEEDED
        assert restored.batches.get(batch).ended == 2
        assert_counts_add_up(restored)
    assert (elsewhere.home / "models.toml").read_text() == "# mine\n"
    assert (elsewhere.registry / "mine" / "card.json").read_text() == "{}"
    with redis_of(elsewhere) as again:
        assert again.get(waiting).status is JobStatus.SUCCEEDED, "Redis went on writing behind what was restored"


def test_without_a_running_service_the_pages_commands_save_and_bring_back_too(
    saved: Path, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (shlex.split(line) for line in commands_of("docs/maintenance.md")[4:6])
    assert run(elsewhere, "restore", str(saved)).exit_code == 0
    monkeypatch.chdir(tmp_path)
    Path("backups").mkdir()
    done = run(elsewhere, *first[1:])
    assert done.exit_code == 0 and "1 jobs, 2 files" in done.output, done.output
    assert not _answers(elsewhere), "it has started a Redis, and ends it"
    (written,) = Path("backups").iterdir()
    written.rename(second[-1])
    assert second[0].startswith("PATHLIGHT_HOME=")
    third = replace(elsewhere, home=tmp_path / "third")
    assert "restored 1 jobs and 2 files" in run(third, *second[2:]).output


def test_a_home_that_is_not_empty_is_left_alone(saved: Path, settings: Settings, tmp_path: Path) -> None:
    done = run(settings, "restore", str(saved))
    assert done.exit_code == 1 and "is not empty; restore into a new directory" in " ".join(done.output.split())
    other = tmp_path / "photos"
    other.mkdir()
    (other / "lock").write_text("mine")
    (other / "cat.png").touch()
    assert run(replace(settings, home=other), "restore", str(saved)).exit_code == 1
    assert (other / "lock").read_text() == "mine"


def test_no_file_is_overwritten_and_a_failed_backup_leaves_none(
    saved: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    done = run(settings, "backup", str(saved))
    assert done.exit_code == 1 and "is there already" in " ".join(done.output.split())
    assert saved.read_bytes() == before

    def no_room(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_add_blobs", no_room)
        done = run(settings, "backup", str(tmp_path / "other.tar"))
    assert done.exit_code == 1 and "No space left on device" in done.output
    assert [path.name for path in tmp_path.iterdir() if "other" in path.name] == []


def test_while_a_backup_copies_nothing_is_swept(
    settings: Settings, store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.submit(submission(BlobStore(settings.blobs), 1))
    real, answers = backup._add_blobs, []

    def copy(*args: object) -> object:
        answers.append(run(settings, "gc"))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_add_blobs", copy)
    assert run(settings, "backup", str(tmp_path / "a.tar")).exit_code == 0
    assert answers[0].exit_code == 1 and "being swept or backed up" in " ".join(answers[0].output.split())
    assert run(settings, "gc").exit_code == 0


def test_a_damaged_blob_is_left_out_and_said(settings: Settings, store: JobStore, tmp_path: Path) -> None:
    ref = submission(BlobStore(settings.blobs), 1).image.sha256
    (settings.blobs / ref[:2] / ref).write_bytes(b"spoiled")
    done = run(settings, "backup", str(tmp_path / "a.tar"))
    assert "0 files" in done.output and "1 files were left out" in done.output


def rewritten(path: Path, change: Callable[[Members], object]) -> Path:
    """The backup with other members."""
    with tarfile.open(path) as archive:
        members = [(info, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    change(members)
    other = path.with_name("rewritten.tar")
    with tarfile.open(other, "w") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return other


def test_blobs_in_a_bucket_are_left_there_and_both_commands_say_so(
    settings: Settings, store: JobStore, elsewhere: Settings, tmp_path: Path
) -> None:
    in_bucket = replace(settings, blobs_url="s3://bucket/prefix")
    done = run(in_bucket, "backup", str(tmp_path / "a.tar"))
    assert done.exit_code == 0 and "0 files" in done.output
    assert "pictures and results are not in it: they stay in s3://bucket/prefix. Copy that bucket now" in done.output
    done = run(elsewhere, "restore", str(tmp_path / "a.tar"))
    assert done.exit_code == 0 and "they were in s3://bucket/prefix. Set PATHLIGHT_BLOBS to that bucket" in done.output


def with_holes(name: str, *, size: int) -> bytes:
    """The header of a file that is nothing but a hole, as GNU tar writes it."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (size % 8**11, 0)
    header[483:495] = b"%011o\0" % (size % 8**11)
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * ord(" "))
    return bytes(header)


def test_a_backup_that_was_cut_changed_or_made_up_is_refused_and_leaves_the_home_empty(
    saved: Path, elsewhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, words: str) -> None:
        done = run(elsewhere, "restore", str(path))
        assert done.exit_code == 1 and words in " ".join(done.output.split()), done.output
        assert not elsewhere.home.exists() or [one.name for one in elsewhere.home.iterdir()] == ["lock"]

    def at(name: str, members: Members) -> int:
        return next(i for i, (info, _) in enumerate(members) if info.name.startswith(name))

    def replaced(name: str, data: bytes) -> Path:
        def change(members: Members) -> None:
            i = at(name, members)
            members[i] = (members[i][0], data)

        return rewritten(saved, change)

    def without(name: str) -> Path:
        return rewritten(saved, lambda members: members.pop(at(name, members)))

    def added(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return rewritten(saved, lambda members: members.insert(0, (info, b"")))

    whole = saved.read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (0, 100, len(whole) // 2):
        cut.write_bytes(whole[:length])
        refused(cut, "Error: ")
    refused(rewritten(saved, lambda members: members.pop()), "is not whole")
    for name in ("blobs/", backup.REDIS):
        refused(without(name), "is not whole")
    refused(replaced("blobs/", b"another picture"), "is not what it was")
    refused(replaced(backup.REDIS, b"another state"), "is not whole")
    for index in (b"", b"[]", b"{}"):
        refused(replaced("backup.json", index), "backup.json cannot be read")
    with tarfile.open(saved) as archive:
        stated = json.load(archive.extractfile("backup.json"))  # type: ignore[arg-type]
    refused(replaced("backup.json", json.dumps({**stated, "format": 2}).encode()), "another version of Pathlight")
    refused(replaced("backup.json", json.dumps({**stated, "redis": "99.1.0"}).encode()), "written by Redis 99.1.0")
    for key, value in (("redis", "x"), ("redis", 7), ("jobs", "many"), ("bucket", 7), ("x", [[]] * 60_000)):
        refused(replaced("backup.json", json.dumps({**stated, key: value}).encode()), "Error: ")
    for name in ("../outside", "/outside", "blobs/../../outside", "registry/../card.json", "redis/redis.conf"):
        refused(added(name), "it holds")
    refused(added(backup.REDIS, tarfile.SYMTYPE, "/etc/passwd"), "it holds")
    refused(added("backup.json", tarfile.LNKTYPE, backup.REDIS), "it holds")
    refused(Path(__file__), "is no backup of Pathlight")
    holes = tmp_path / "holes.tar"
    holes.write_bytes(with_holes(backup.REDIS, size=2**32) + bytes(1024))
    refused(holes, "it holds")
    long = tarfile.TarInfo("long")
    long.type, long.size = tarfile.XHDTYPE, 2**33
    holes.write_bytes(long.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    refused(holes, "is no backup of Pathlight")
    monkeypatch.setattr(backup, "_MOST_FILES", 0)
    refused(saved, "it holds")
    monkeypatch.undo()
    assert not (tmp_path / "outside").exists()
    assert run(elsewhere, "restore", str(saved)).exit_code == 0


def test_what_there_is_not_or_is_elsewhere_is_not_backed_up(tmp_path: Path) -> None:
    done = run(Settings(home=tmp_path / "absent"), "backup", str(tmp_path / "a.tar"))
    assert done.exit_code == 1 and "there is nothing to back up" in done.output
    done = run(Settings(home=tmp_path, redis_url="redis://elsewhere:6379"), "backup", str(tmp_path / "a.tar"))
    assert done.exit_code == 1 and "docs/maintenance.md" in " ".join(done.output.split())
    assert os.listdir(tmp_path) == []
