"""Blobs in a bucket: the promises of the folder, kept by moto's server, which runs in this process."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from moto.s3.models import FakeBucket

from cli.main import main
from shared import distribution
from shared.blobs.blob_store import BlobStore, Swept
from shared.blobs.bucket import blob_store
from shared.errors import AlreadyRunning, InvalidSetting, StorageFailed
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore
from tests.documented import commands_of
from tests.shared.buckets import backend, new_bucket, serving_buckets


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with serving_buckets() as variables:
        yield variables


@pytest.fixture
def credentials(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(credentials: None) -> FakeBucket:
    return new_bucket()


@pytest.fixture
def blobs(bucket: FakeBucket, tmp_path: Path) -> BlobStore:
    return blob_store(Settings(home=tmp_path, blobs_url=f"s3://{bucket.name}/some/prefix"))


def key_of(ref: str) -> str:
    return f"some/prefix/{ref[:2]}/{ref}"


def spoil(bucket: FakeBucket, ref: str, data: bytes) -> None:
    backend().put_object(bucket.name, key_of(ref), data)


def make_old(bucket: FakeBucket, ref: str) -> None:
    bucket.keys[key_of(ref)].last_modified -= timedelta(seconds=1000)


def nobody(refs: Sequence[str]) -> set[str]:
    return set()


def test_the_pages_commands_name_a_bucket_and_say_whether_it_answers(
    credentials: None, bucket: FakeBucket, store: JobStore, settings: Settings
) -> None:
    install, export, doctor = commands_of("docs/scaling.md")[:3]
    assert install == distribution.install("s3")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    named = project["optional-dependencies"]["s3"]
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", *named]
    assert "Would install" not in subprocess.run(pip, capture_output=True, text=True, check=True).stdout
    variable, _, address = export.removeprefix("export ").partition("=")
    for name, words in ((bucket.name, " answers"), ("absent", "look at PATHLIGHT_BLOBS and the AWS_* variables")):
        environment = settings.to_environment() | {variable: address.replace("//bucket/", f"//{name}/")}
        done = CliRunner(env=environment).invoke(main, shlex.split(doctor)[1:])
        (line,) = (line for line in done.output.splitlines() if f"s3://{name}/prefix" in line)
        assert words in line and ("MEND" in line) is (name == "absent"), line


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000], ids=["empty", "one byte", "many bytes"])
def test_a_blob_reads_back_as_it_was_and_is_called_by_its_hash(
    blobs: BlobStore, bucket: FakeBucket, data: bytes
) -> None:
    ref = blobs.put(data)
    assert ref == hashlib.sha256(data).hexdigest() and blobs.get(ref) == data
    assert list(bucket.keys) == [key_of(ref)]


def test_many_writers_of_one_blob_do_not_disturb_each_other(blobs: BlobStore, bucket: FakeBucket) -> None:
    with ThreadPoolExecutor(8) as pool:
        (ref,) = set(pool.map(lambda _: blobs.put(bytes(100_000)), range(16)))
    assert blobs.get(ref) == bytes(100_000) and len(list(bucket.keys)) == 1


def test_a_missing_blob_is_said_to_be_unreadable_without_naming_its_place(blobs: BlobStore) -> None:
    with pytest.raises(StorageFailed, match="^a stored file cannot be read: No such file or directory$"):
        blobs.get("0" * 64)


def test_a_damaged_blob_is_refused_and_can_be_stored_anew(blobs: BlobStore, bucket: FakeBucket) -> None:
    ref = blobs.put(b"one")
    spoil(bucket, ref, b"another")
    with pytest.raises(StorageFailed, match="^a stored file is damaged$"):
        blobs.get(ref)
    assert blobs.put(b"one") == ref and blobs.get(ref) == b"one"


@pytest.mark.parametrize("ref", ["", "../" * 3 + "etc/passwd", "0" * 63, "A" * 64, "/" + "0" * 63])
def test_nothing_but_a_hash_is_a_reference(blobs: BlobStore, ref: str) -> None:
    for use in (blobs.get, blobs.discard, blobs.keep):
        with pytest.raises(StorageFailed, match="^not a blob reference$"):
            use(ref)


def test_a_sweep_removes_what_nobody_wants_page_by_page(
    blobs: BlobStore, bucket: FakeBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    old, wanted, kept, named, new = (blobs.put(data) for data in (b"old", b"wanted", b"kept", b"named", b"new"))
    for ref in (old, wanted, kept, named):
        make_old(bucket, ref)
    backend().put_object(bucket.name, "some/prefix/strangers-file", b"not ours")
    bucket.keys["some/prefix/strangers-file"].last_modified -= timedelta(days=9)
    blobs.put(b"wanted")
    assert blobs.keep(kept)
    would = blobs.sweep(lambda refs: {named} & set(refs), older_than=500, dry_run=True)
    assert would == Swept(1, len(b"old")) and blobs.get(old) == b"old", "nothing has happened yet"
    assert blobs.sweep(lambda refs: {named} & set(refs), older_than=500) == would
    assert set(bucket.keys) == {*map(key_of, (wanted, kept, named, new)), "some/prefix/strangers-file"}


def test_a_blob_that_is_stored_again_while_a_sweep_asks_about_it_stays(blobs: BlobStore, bucket: FakeBucket) -> None:
    ref = blobs.put(b"one")
    make_old(bucket, ref)

    def asked(refs: Sequence[str]) -> set[str]:
        blobs.put(b"one")
        return set()

    assert blobs.sweep(asked, older_than=500) == Swept()
    assert blobs.get(ref) == b"one"


def test_one_sweep_at_a_time(blobs: BlobStore) -> None:
    with blobs.unswept(), pytest.raises(AlreadyRunning, match="swept or backed up just now"):
        blobs.sweep(nobody, older_than=0)
    assert blobs.sweep(nobody, older_than=0) == Swept()


def test_a_discarded_blob_is_gone_may_be_discarded_again_and_cannot_be_kept(blobs: BlobStore) -> None:
    ref = blobs.put(b"one")
    blobs.discard(ref)
    blobs.discard(ref)
    assert not blobs.keep(ref)


def test_a_bucket_that_is_not_there_is_said_to_be_missing(credentials: None) -> None:
    blobs = blob_store(Settings(blobs_url="s3://no-such-bucket"))
    for use in (blobs.free_bytes, lambda: blobs.put(b"one"), lambda: blobs.get("0" * 64)):
        with pytest.raises(StorageFailed, match="No such file or directory$"):
            use()


def test_a_service_that_does_not_answer_is_a_storage_failure(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    blobs = blob_store(Settings(blobs_url="s3://bucket"))
    for use in (lambda: blobs.put(b"one"), lambda: blobs.keep("0" * 64)):
        with pytest.raises(StorageFailed, match="^a file could not be stored: the bucket does not answer$"):
            use()
    with pytest.raises(StorageFailed, match="^no file can be stored: the bucket does not answer$"):
        blobs.free_bytes()


def test_a_bucket_without_s3fs_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.blobs.bucket.find_spec", lambda name: None)
    with pytest.raises(InvalidSetting, match=r"needs s3fs; run: \.venv/bin/pip install -e '\.\[s3\]'$"):
        blob_store(Settings(blobs_url="s3://bucket"))
