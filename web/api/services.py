"""What the views work with. Each application has its own; a view finds those of the application that it answers for."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from shared.blobs.blob_store import BlobStore
from shared.broker import Bell
from shared.cards.registry import Models
from shared.settings import Settings
from shared.store.job_store import JobStore
from web.api.artifacts import Artifacts, drawing_turns
from web.api.batch_upload import unpacking_turns
from web.api.events import Streams
from web.api.jobs import Jobs
from web.api.named_addresses import NamedAddresses
from web.api.reports import Reports
from web.api.sending import Sending
from web.http.models import Snapshot, snapshot_of
from web.http.room import Room
from web.http.traffic import Traffic
from web.http.turns import Turns

_EXTENSION = "pathlight"


@dataclass(frozen=True)
class Services:
    """Of one application in one web process, shared by its threads."""

    settings: Settings
    store: JobStore
    blobs: BlobStore
    bell: Bell
    registry: Snapshot
    room: Room
    traffic: Traffic
    jobs: Jobs
    artifacts: Artifacts
    streams: Streams
    addresses: NamedAddresses
    reports: Reports
    sending: Sending
    drawings: Turns
    unpacking: Turns

    @classmethod
    def of(cls, settings: Settings, *, store: JobStore, blobs: BlobStore, bell: Bell, models: Models) -> Services:
        """Over the given store, blobs and models."""
        registry, jobs, drawings, sending = snapshot_of(models), Jobs(store, blobs), drawing_turns(), Sending()
        return cls(
            settings=settings,
            store=store,
            blobs=blobs,
            bell=bell,
            registry=registry,
            room=Room(blobs, settings),
            traffic=Traffic(store),
            jobs=jobs,
            artifacts=Artifacts(blobs, settings, drawings=drawings),
            streams=Streams(settings, store=store, jobs=jobs),
            addresses=NamedAddresses(settings),
            reports=Reports(store.batches, blobs, registry, settings, drawings=drawings, sending=sending),
            sending=sending,
            drawings=drawings,
            unpacking=unpacking_turns(),
        )


def register(app: Flask, given: Services) -> None:
    """Let the views of the application find its services."""
    app.extensions[_EXTENSION] = given


def services() -> Services:
    """Those of the application that answers the current request."""
    found: Services = current_app.extensions[_EXTENSION]
    return found
