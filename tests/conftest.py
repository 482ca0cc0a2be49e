"""Fixtures that many tests share: settings in a fresh folder, a real Redis of our own, stores, and photographs."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cli import embedded
from shared.allocator import keep_freed_memory
from shared.blobs.blob_store import BlobStore
from shared.cards.card import Registry
from shared.errors import StoreUnavailable
from shared.settings import REPOSITORY, Settings
from shared.store.job_store import JobStore

DATA = REPOSITORY.parent / "shared" / "data"
SLOW = ("browser", "flow", "faults")  # folders whose tests start whole services, or drive a browser
LONGEST = (*SLOW, "worker")  # those of workers put networks to work


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where files run side by side, the long ones begin first, so that no process is left alone with one at the end."""
    items.sort(key=_turn)
    for item in items:
        if _folder(item) in SLOW:
            item.add_marker(pytest.mark.slow)


def _turn(item: pytest.Item) -> int:
    folder = _folder(item)
    return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(REPOSITORY / "tests").parts[0]


@pytest.fixture(scope="session", autouse=True)
def kept_memory() -> None:
    """Networks run in the tests as in a worker: without it each pass waits for the system to hand out its memory."""
    keep_freed_memory()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def redis_server(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A redis-server as `pathlight run` starts it, on the socket that the settings name."""
    settings.home.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(embedded.prepare(settings), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(settings), seconds=60)
        yield server
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def store(settings: Settings, redis_server: subprocess.Popen[bytes]) -> JobStore:
    return JobStore.connect(settings)


@pytest.fixture
def make_store(settings: Settings, redis_server: subprocess.Popen[bytes]) -> Callable[..., JobStore]:
    """Stores on the same server with other settings: `make_store(lease_seconds=0.2)`."""
    return lambda **changes: JobStore.connect(replace(settings, **changes))


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return BlobStore(settings.blobs)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.load(Settings(home=Path("/nonexistent")))


@pytest.fixture(scope="session")
def photos() -> dict[str, Image.Image]:
    """Real photographs, by name."""
    import skimage.data

    names = ("chelsea", "coffee", "astronaut", "rocket")
    return {name: Image.fromarray(getattr(skimage.data, name)()) for name in names}


@pytest.fixture(scope="session")
def large_photo(photos: dict[str, Image.Image]) -> bytes:
    """A JPEG of 3,101 x 2,069 pixels, as a telephone takes it."""
    return encoded(photos["coffee"].resize((3101, 2069), Image.Resampling.BICUBIC), "JPEG", quality=90)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of CIFAR-10 and photos100. Absent on a reader's machine, where the test is skipped; never in CI."""
    if not (DATA / "cifar10-test.npz").exists():
        message = "../shared/data is not beside the project"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return DATA


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def wait_for(condition: Callable[[], bool], *, seconds: float, pause: float = 0.02) -> None:
    """Wait until the condition holds; fails the test where it does not come to hold in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(pause)


def _answers(settings: Settings) -> bool:
    try:
        JobStore.connect(settings).ping()
    except StoreUnavailable:
        return False
    return True
