"""Blobs in a bucket of S3-compatible storage, through s3fs; credentials by the usual AWS_* variables."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from shared.blobs.blob_store import ASKED_AT_ONCE, BlobStore, Named, Swept
from shared.distribution import install
from shared.errors import InvalidSetting, StorageFailed
from shared.settings import Settings

FRESH_SECONDS = 30.0  # a blob written or marked so lately need not be marked again
_TIMES = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3}}


def blob_store(settings: Settings) -> BlobStore:
    """The store that the settings name. Raises InvalidSetting where it needs a package that is missing."""
    durable = settings.durability == "always"
    if not settings.blobs_url:
        return BlobStore(settings.blobs, durable=durable)
    if find_spec("s3fs") is None:
        raise InvalidSetting(f"PATHLIGHT_BLOBS is on S3, which needs s3fs; run: {install('s3')}")
    return BucketStore(settings.blobs, durable=durable, root=settings.blobs_url.removeprefix("s3://").rstrip("/"))


@dataclass(frozen=True)
class BucketStore(BlobStore):
    """Blobs under `root` (bucket or bucket/prefix); the local `folder` holds no more than the lock of sweeps. An object
    is there as a whole or not at all, and durable once the service has answered."""

    root: str = ""

    def discard(self, ref: str) -> None:
        with _saying("a stored file cannot be removed"), _answering():
            self._ask("delete_object", self._path(ref).name)

    def keep(self, ref: str) -> bool:
        """As in a folder; an object's age says when it was wanted last, so one that is not fresh is copied onto
        itself. Raises StorageFailed where the service does not answer."""
        bucket, key = self._place(self._path(ref).name)
        with _saying("a file could not be stored"), _answering(), suppress(FileNotFoundError):
            if time.time() - self._age_of(ref) > FRESH_SECONDS:
                source = {"Bucket": bucket, "Key": key}
                self._ask("copy_object", ref, CopySource=source, MetadataDirective="REPLACE")
            return True
        return False

    def sweep(self, named: Named, *, older_than: float, dry_run: bool = False) -> Swept:
        """As in a folder, but one who wants a blob again in the very moment between the last look at its age and its
        removal loses it: no service can remove on condition of an age."""
        freed, oldest = Swept(), time.time() - older_than
        with self.unswept(), _saying("the stored files cannot be swept"), _answering():
            old = self._untouched_since_in_bucket(oldest)
            while some := list(islice(old, ASKED_AT_ONCE)):
                found = named([swept for swept, _ in some])
                for ref, size in some:
                    if ref not in found and (dry_run or self._remove_old(ref, oldest)):
                        freed += Swept(1, size)
        return freed

    def remove(self, refs: Sequence[str], named: Named) -> Swept:
        """Removes nothing: another host's requests have their lists there, and no service takes an object aside."""
        return Swept()

    def free_bytes(self) -> int:
        """No bound; but the bucket must be there. Raises StorageFailed."""
        with _saying("no file can be stored"), _answering():
            self._files.call_s3("head_bucket", Bucket=self.root.partition("/")[0])
        return sys.maxsize

    @cached_property
    def _files(self) -> Any:
        """Made when first needed: after the pool has forked, and without loading s3fs where nothing is stored."""
        from s3fs import S3FileSystem

        return S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=_TIMES)

    def _place(self, name: str) -> tuple[str, str]:
        bucket, _, prefix = f"{self.root}/".partition("/")
        return bucket, f"{prefix}{name[:2]}/{name}"

    def _ask(self, operation: str, name: str, **given: Any) -> Any:
        bucket, key = self._place(name)
        return self._files.call_s3(operation, Bucket=bucket, Key=key, **given)

    def _age_of(self, ref: str) -> float:
        """When it was written or marked last, by the service's clock."""
        return float(self._ask("head_object", ref)["LastModified"].timestamp())

    def _read(self, ref: str) -> bytes:
        with _answering():
            return bytes(self._files.cat_file("/".join(self._place(self._path(ref).name))))

    def _write(self, path: Path, data: bytes) -> None:
        with _answering():
            self._files.pipe_file("/".join(self._place(path.name)), data)

    def _untouched_since_in_bucket(self, moment: float) -> Iterator[tuple[str, int]]:
        """References of old objects with their sizes, a page at a time; what is none of ours is left alone."""
        bucket, _, prefix = f"{self.root}/".partition("/")
        more: dict[str, str] = {}
        while True:
            page = self._files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            for entry in page.get("Contents", []):
                name = str(entry["Key"]).rpartition("/")[2]
                if entry["LastModified"].timestamp() <= moment and self._place(name)[1] == entry["Key"]:
                    yield name, int(entry["Size"])
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _remove_old(self, ref: str, oldest: float) -> bool:
        try:
            if self._age_of(ref) > oldest:
                return False
        except FileNotFoundError:
            return False
        self._ask("delete_object", ref)
        return True


@contextmanager
def _answering() -> Iterator[None]:
    """Raise an OSError whose text may be shown. s3fs has one for what the service refuses; what does not come back at
    all is botocore's, which has a tree of its own."""
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory") from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, "the bucket refuses these credentials") from error
    except (OSError, BotoCoreError) as error:
        raise OSError(errno.EIO, "the bucket does not answer") from error


@contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{what}: {error.strerror}") from error
