"""No route is without an attack, and what is attacked is there."""

from __future__ import annotations

import pytest

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell, make_celery
from shared.cards.card import Registry
from shared.settings import Settings
from shared.store.job_store import JobStore
from tests.faults.cost.attacks import ATTACKS, UNATTACKED
from tests.faults.cost.planted import FAULTS
from web.app import create_app


@pytest.fixture
def endpoints(settings: Settings, blobs: BlobStore, registry: Registry) -> set[str]:
    bell = Bell(make_celery(settings))
    app = create_app(settings, store=JobStore.connect(settings), blobs=blobs, bell=bell, registry=registry)
    return {rule.endpoint for rule in app.url_map.iter_rules()}


def test_every_route_is_attacked_or_it_is_said_why_not(endpoints: set[str]) -> None:
    attacked = {route for attack in ATTACKS.values() for route in attack.routes}
    assert attacked | UNATTACKED.keys() == endpoints
    assert not attacked & UNATTACKED.keys()


def test_every_planted_fault_names_attacks_that_there_are() -> None:
    assert {name for fault in FAULTS.values() for name in fault.found_by} <= ATTACKS.keys()
