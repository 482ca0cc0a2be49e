"""Fixtures of the web tests: the application over a real store, without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import flask_openapi3.utils
import pytest
from flask.testing import FlaskClient

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.app import create_app


@pytest.fixture(scope="session", autouse=True)
def schemas_made_once() -> Iterator[None]:
    """Every application describes the same API, and its schemas are most of the work of making one."""
    made = cache(flask_openapi3.utils.get_model_schema)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flask_openapi3.utils.get_model_schema", lambda *given, **named: deepcopy(made(*given, **named)))
        yield


@pytest.fixture
def client(settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry) -> FlaskClient:
    bell = Bell(make_celery(settings))
    return create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry).test_client()
