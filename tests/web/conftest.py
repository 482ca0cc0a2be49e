"""Fixtures of the web tests: the application over a real store, without a worker."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.app import create_app


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    bell = Bell(make_celery(settings))
    return create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry).test_client()
