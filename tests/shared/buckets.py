"""S3-compatible storage for tests: moto's server, which runs in this process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeBucket, S3Backend, s3_backends
from moto.server import ThreadedMotoServer


@contextmanager
def serving_buckets() -> Iterator[dict[str, str]]:
    """The variables by which clients reach the server."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    server.stop()


def backend() -> S3Backend:
    """What the server holds."""
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def new_bucket() -> FakeBucket:
    return backend().create_bucket(f"bucket-{secrets.token_hex(4)}", "us-east-1")
