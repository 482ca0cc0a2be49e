"""Several applications in one process share their views and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.api.services import services
from web.app import create_app


def test_each_application_has_services_of_its_own(
    settings: Settings, store: JobStore, blobs: BlobStore, registry: Registry, tmp_path: Path
) -> None:
    bell = Bell(make_celery(settings))
    other_settings, other_blobs = replace(settings, keys="required"), BlobStore(tmp_path / "others")
    one = create_app(settings, store=store, blobs=blobs, bell=bell, registry=registry)
    other = create_app(other_settings, store=store, blobs=other_blobs, bell=bell, registry=registry)

    with one.test_request_context():
        first = services()
    with other.test_request_context():
        second = services()
    assert first.settings is settings and first.blobs is blobs
    assert second.settings is other_settings and second.blobs is other_blobs
    assert first.drawings is not second.drawings and first.jobs is not second.jobs

    assert one.api_doc == other.api_doc
    assert [app.test_client().get("/api/v1/models").status_code for app in (one, other, one)] == [200, 401, 200]
